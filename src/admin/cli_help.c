/* The text that `zerg --help` and `zerg COMMAND --help` print. */
#include <stdio.h>

#include "admin/cli.h"
#include "base/assert.h"

static const char *const help_texts[CLI_COMMAND_COUNT] = {
    [CLI_HELP] = "zerg: a TCP and HTTP server whose connections and requests are handled by Lua scripts\n"
                 "\n"
                 "  zerg [run] [-c FILE]         serve a configuration in the foreground\n"
                 "  zerg SCRIPT.lua [-p PORT] [--http]\n"
                 "                               serve one handler script, without a configuration\n"
                 "  zerg proxy [LISTEN] TARGET... [--tcp]\n"
                 "                               reverse proxy of HTTP, or of TCP connections\n"
                 "  zerg check [-c FILE]         say what is wrong with a configuration and its scripts\n"
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
                 "  -t, --check           the same as `zerg check`\n"
                 "  -V, --version         the same as `zerg version`\n"
                 "  -h, --help            help, for each command too\n",
    [CLI_RUN] = "zerg [run] [-c FILE] [--reactors N] [--log-level L] [--control PATH]\n"
                "\n"
                "Serves a configuration in the foreground. TERM and QUIT let connections finish for as long as\n"
                "drain_timeout says, INT stops at once, USR1 opens the log file anew.\n"
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
