-- req:forward in the engine's model: one at a time, whose answer and end the spec tells by hand.
-- Fields are read when the spec asks for them, as C reads them when it needs them.

local ffi = require("ffi")

local connects = require("support.engine_connects")
local http = require("support.engine_http")
local tasks = require("support.engine_tasks")

local M = { api = {} }

local api = M.api

-- Values of api.h's enums.
local OK, PARK, HEAD, END = 0, 1, 3, -1
local BUSY, NO_TASK, NO_MEMORY, NO_TARGET = -3, -5, -7, -10
local BROKEN, SENT, BAD_NAME, BAD_VALUE = -16, -17, -18, -19

M.results = { END = END, BUSY = BUSY, NO_TASK = NO_TASK, NO_MEMORY = NO_MEMORY, BROKEN = BROKEN,
  SENT = SENT }

---What zerg_http_forward() gives; PARK: it is under way.
M.begins_with = PARK
---Why, where that is END.
M.reason = nil
---What on_response had changed, each time: a list of fields, `n` of them.
M.went_on = {}

local under_way -- { task =, target =, options =, request =, head =, outcome =, answer_fields = }
local last

function M.reset()
  M.begins_with, M.reason, M.went_on = PARK, nil, {}
  under_way, last = nil, nil
end

local function text_of(pointer, len)
  return pointer ~= nil and ffi.string(pointer, len) or nil
end

local function fields_of(fields, count)
  local out = {}
  for index = 0, count - 1 do
    out[index + 1] = { ffi.string(fields[index]._name), text_of(fields[index]._value) }
  end
  return out
end

---What the last call handed over, as it stands there now; nil: there was none.
function M.options()
  local options = last and last.options
  return options and {
    target = last.target,
    path = text_of(options._path, options._path_len),
    method = text_of(options._method, options._method_len),
    body = text_of(options._body, options._body_len),
    hash_key = text_of(options._hash_key, options._hash_key_len),
    connect_s = options._connect_s, read_s = options._read_s, retries = options._retries,
    wants_head = options._wants_head,
    fields = fields_of(options._fields, options._field_count),
    answer_fields = fields_of(options._answer_fields, options._answer_field_count),
  }
end

---The fields of on_response, as they stand there now.
function M.answer_fields_now()
  return fields_of(unpack(under_way.answer_fields, 1, 2))
end

local RESERVED = { connection = true, ["content-length"] = true }

function api.zerg_http_may_forward(name, name_len, value, value_len)
  if not name:sub(1, name_len):find("^[%w-]+$") or RESERVED[name:lower()] then
    return BAD_NAME
  end
  return value and value:sub(1, value_len):find("[%z\r\n]") and BAD_VALUE or OK
end

local function state_of(forward)
  if forward.outcome then
    return forward.outcome.status and OK or connects.fail(forward.outcome.reason)
  elseif forward.head then
    return HEAD
  end
  return tasks.park("pending")
end

function api.zerg_http_forward(pointer, target, len, options)
  if not tasks.running() then
    return NO_TASK
  elseif M.begins_with ~= PARK then
    return M.begins_with == END and connects.fail(M.reason) or M.begins_with
  elseif target:sub(1, len) ~= "app" then
    return NO_TARGET
  end
  local request = http.of(pointer)
  under_way = { task = tasks.running(), target = target, options = options, request = request }
  last = under_way
  under_way.task.pending = under_way
  return state_of(under_way)
end

function api.zerg_http_forward_finish(out)
  local forward = assert(tasks.running().pending, "nothing is under way")
  local rc = state_of(forward)
  if rc == OK then
    local outcome = forward.outcome
    out.status, out.duration_s = outcome.status, outcome.duration
    out.bytes_up, out.bytes_down = outcome.bytes_up, outcome.bytes_down
    out.server, out.reason = http.text(outcome.server), http.text(outcome.reason)
  end
  if rc == OK or rc == END then
    forward.task.pending = nil
  end
  return rc
end

function api.zerg_http_answer_status(pointer)
  return under_way.request == http.of(pointer) and under_way.head or 0
end

function api.zerg_http_forward_go_on(fields, count)
  assert(under_way.head, "there is no head")
  under_way.head, under_way.request.sent.answer_headers = nil, nil
  local changes = fields ~= nil and fields_of(fields, count) or {}
  changes.n, changes.is_table = count, (fields ~= nil and count == 0) or nil
  M.went_on[#M.went_on + 1] = changes
  under_way.answer_fields = { fields, count }
  return state_of(under_way)
end

---The task wakes for nothing.
function M.wake()
  tasks.wake(under_way.task)
  tasks.run_ready()
end

---The head of the answer has come.
function M.head(status, headers)
  under_way.head, under_way.request.sent.answer_headers = status, headers
  M.wake()
end

---It has ended: so (status, server, ...), or for this reason without an answer.
function M.finish(outcome)
  under_way.outcome = type(outcome) == "table" and outcome or { reason = outcome }
  M.wake()
end

return M
