-- SQPOLL: a kernel thread watches the reactor's submission queue, so that sending and receiving
-- need no system calls while there is work.
--
--   zerg run -c examples/sqpoll/zerg.lua
--   nc 127.0.0.1 8080
--
-- The thread costs a CPU of its own for each reactor, so this pays on machines with CPUs to spare,
-- and never on small ones. Measure before you keep it. After `sq_idle` without work the thread
-- sleeps, and is woken by a system call like any other ring.

return {
  reactors = 1, -- leave a CPU for each kernel thread

  reactor = {
    sqpoll = true,
    sq_cpu = -1, -- which CPU the kernel thread is bound to; -1 lets the kernel choose
    sq_idle = "50ms",
  },

  listeners = {
    -- A handler can be a file, looked for beside this one, or a function right here.
    { port = tonumber(os.getenv("PORT")) or 8080, handler = "handler.lua" },
  },
}
