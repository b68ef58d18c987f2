/* The text that `zerg --help` and `zerg COMMAND --help` print. */
#include <stdio.h>

#include "admin/cli.h"
#include "base/assert.h"

/* Of every command that asks a running server. */
#define WHICH_SERVER                                                                                       \
    "  -c, --config FILE     the server's configuration; ./zerg.lua, then /etc/zerg/zerg.lua by default\n" \
    "      --control PATH    or where its control socket is\n"

static const char *const help_texts[CLI_COMMAND_COUNT] = {
    [CLI_HELP] = "zerg: a TCP and HTTP server whose connections and requests are handled by Lua scripts\n"
                 "\n"
                 "  zerg [run] [-c FILE]         serve a configuration in the foreground\n"
                 "  zerg SCRIPT.lua [-p PORT] [--http]\n"
                 "                               serve one handler script, without a configuration\n"
                 "  zerg proxy [LISTEN] TARGET... [--tcp]\n"
                 "                               reverse proxy of HTTP, or of TCP connections\n"
                 "  zerg check [-c FILE]         say what is wrong with a configuration and its scripts\n"
                 "  zerg status [--json]         how the running server is\n"
                 "  zerg stop [--now]            end it, and wait for that\n"
                 "  zerg reload                  let it load its configuration and scripts anew\n"
                 "  zerg upgrade                 let a new process take over from it\n"
                 "  zerg connections [--json]    its connections\n"
                 "  zerg close ID                end one of them\n"
                 "  zerg servers [--json]        servers of its upstreams\n"
                 "  zerg servers UPSTREAM SERVER up|down|drain|auto, or weight N\n"
                 "                               say how it is to use one of them\n"
                 "  zerg repl [--reactor N]      type Lua into it\n"
                 "  zerg init [DIR]              write a first configuration and handler\n"
                 "  zerg version                 version, libraries, and the kernel features in use\n"
                 "  zerg help [COMMAND]          this text, or that of one command\n"
                 "\n"
                 "  -c, --config FILE     configuration; ./zerg.lua, then /etc/zerg/zerg.lua by default\n"
                 "  -p, --port PORT       port of SCRIPT.lua; 8080 by default\n"
                 "      --http            SCRIPT.lua handles HTTP requests\n"
                 "      --tcp             proxy relays connections as they are\n"
                 "      --reactors N      reactor threads, in place of what the configuration says; 0: one per CPU\n"
                 "      --log-level L     debug, info, warn or error, in place of what the configuration says\n"
                 "      --control PATH    control socket, in place of what the configuration says\n"
                 "      --now             stop cuts connections\n"
                 "      --json            the answer as it came\n"
                 "      --reactor N       reactor that repl talks to; 0 by default\n"
                 "  -t, --check           the same as `zerg check`\n"
                 "  -V, --version         the same as `zerg version`\n"
                 "  -h, --help            help, for each command too\n",
    [CLI_RUN] = "zerg [run] [-c FILE] [--reactors N] [--log-level L] [--control PATH]\n"
                "\n"
                "Serves a configuration in the foreground. TERM and QUIT let connections finish for as long as\n"
                "drain_timeout says, INT stops at once, HUP loads the configuration and scripts anew, USR1 opens the\n"
                "log file anew, USR2 lets a new process take over.\n"
                "\n"
                "  -c, --config FILE     configuration; ./zerg.lua, then /etc/zerg/zerg.lua by default\n"
                "      --reactors N      reactor threads, in place of what the configuration says; 0: one per CPU\n"
                "      --log-level L     debug, info, warn or error, in place of what the configuration says\n"
                "      --control PATH    control socket, in place of what the configuration says\n",
    [CLI_SCRIPT] =
        "zerg SCRIPT.lua [-p PORT] [--http] [--reactors N] [--log-level L] [--control PATH]\n"
        "\n"
        "Serves one handler script on all addresses of this machine. The script returns a function that gets\n"
        "the connection, or with --http one request after the other, or a table with that function as `serve`.\n"
        "\n"
        "  -p, --port PORT       8080 by default\n"
        "      --http            speak HTTP: the handler gets a request and the answer to it\n"
        "      --reactors N      reactor threads; one per CPU by default\n"
        "      --log-level L     debug, info, warn or error\n"
        "      --control PATH    control socket, in place of the usual one\n",
    [CLI_PROXY] =
        "zerg proxy [LISTEN] TARGET... [--tcp] [--reactors N] [--log-level L] [--control PATH]\n"
        "\n"
        "A reverse proxy: forwards every HTTP request that comes to LISTEN to a TARGET, or with --tcp every\n"
        "connection as it is. Several TARGETs get them in turn; when one cannot be connected to, the next is\n"
        "tried. LISTEN is \":8080\" (the default, when there is one word only), \"127.0.0.1:8080\", \"[::1]:8080\"\n"
        "or \"unix:/path\"; a TARGET is \"127.0.0.1:3000\", \"[::1]:3000\", \"db.internal:5432\", \"unix:/path\" or\n"
        "\"srv:_pg._tcp.db.internal\".\n"
        "\n"
        "      --tcp             relay bytes as they are\n"
        "      --reactors N      reactor threads; one per CPU by default\n"
        "      --log-level L     debug, info, warn or error\n"
        "      --control PATH    control socket, in place of the usual one\n",
    [CLI_CHECK] = "zerg check [-c FILE]\n"
                  "\n"
                  "Loads a configuration and the scripts it names, and serves nothing. Every problem is a line\n"
                  "`file:line: key: what is wrong`, and the exit status is 1; without one it is 0.\n"
                  "\n"
                  "  -c, --config FILE     configuration; ./zerg.lua, then /etc/zerg/zerg.lua by default\n",
    [CLI_RELOAD] = "zerg reload [-c FILE] [--control PATH]\n"
                   "\n"
                   "Lets the running server load its configuration and scripts anew and waits until it has. What is\n"
                   "wrong with them is said, with file and line, and nothing changes then.\n"
                   "\n" WHICH_SERVER,
    [CLI_STOP] = "zerg stop [--now] [-c FILE] [--control PATH]\n"
                 "\n"
                 "Ends the running server and waits until it has ended: no more connections are accepted, and those\n"
                 "that are open may finish for as long as drain_timeout says. How many are left is shown.\n"
                 "\n"
                 "      --now             cut connections\n" WHICH_SERVER,
    [CLI_STATUS] = "zerg status [--json] [-c FILE] [--control PATH]\n"
                   "\n"
                   "Says how the running server is: since when, in which state, and how many connections its reactors\n"
                   "and listeners have.\n"
                   "\n"
                   "      --json            the answer as it came, one line\n" WHICH_SERVER,
    [CLI_UPGRADE] = "zerg upgrade [-c FILE] [--control PATH]\n"
                    "\n"
                    "Lets the running server start the program anew, which takes its listeners over, and waits until\n"
                    "that serves. If it does not start, nothing changes.\n"
                    "\n" WHICH_SERVER,
    [CLI_CONNECTIONS] = "zerg connections [--json] [-c FILE] [--control PATH]\n"
                        "\n"
                        "Lists the connections of the running server, and what each waits for.\n"
                        "\n"
                        "      --json            the answer as it came, one line\n" WHICH_SERVER,
    [CLI_CLOSE] = "zerg close ID [-c FILE] [--control PATH]\n"
                  "\n"
                  "Ends a connection of the running server. `zerg connections` shows their IDs.\n"
                  "\n" WHICH_SERVER,
    [CLI_SERVERS] = "zerg servers [--json] [-c FILE] [--control PATH]\n"
                    "zerg servers UPSTREAM SERVER up|down|drain|auto\n"
                    "zerg servers UPSTREAM SERVER weight N\n"
                    "\n"
                    "Lists the servers of the upstreams of the running server, or says how it is to use one of them:\n"
                    "as if it were well (up), not at all (down), for what it has already (drain), or as checks and\n"
                    "failures tell (auto); or with another weight.\n"
                    "\n"
                    "      --json            the answer as it came, one line\n" WHICH_SERVER,
    [CLI_REPL] = "zerg repl [--reactor N] [-c FILE] [--control PATH]\n"
                 "\n"
                 "Evaluates lines of Lua in a reactor of the running server and shows what they give. A chunk that is\n"
                 "not finished goes on in the next line. At a terminal there is line editing and a history, Control-D\n"
                 "ends. Other input is taken line by line, too; the exit status is 1 then if some chunk failed.\n"
                 "\n"
                 "      --reactor N       0 by default\n" WHICH_SERVER,
    [CLI_INIT] =
        "zerg init [DIR]\n"
        "\n"
        "Writes a commented zerg.lua and handlers/hello.lua into DIR (here, by default). Overwrites nothing.\n",
    [CLI_VERSION] =
        "zerg version\n"
        "\n"
        "Says the version, that of liburing, LuaJIT and the kernel, and which kernel features are in use on\n"
        "this machine, or why zerg cannot run on it.\n",
};

void cli_print_help(enum cli_command topic)
{
    assert(topic < CLI_COMMAND_COUNT);
    fputs(help_texts[topic], stdout);
}
