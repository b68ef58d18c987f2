# zerg's build. `make help` lists the targets. Everything built goes to $(BUILD); nothing generated is in the tree.
#
# make CC=clang          another compiler (everything is built anew when a flag changes)
# make CFLAGS=-O3        instead of "-O2 -g"
# make CJSON_LIBS=...    where lua-cjson's luaopen_cjson is, if not in Debian's lua-cjson-dev
# make LIBSYSTEMD=...    another library with sd_notify(3), as pkg-config calls it: libelogind
# make V=1               shows the commands

VERSION := 0.1.0
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=

ifeq ($(origin CC),default)
CC := gcc
endif
CFLAGS ?= -O2 -g
LUAJIT ?= luajit
PKG_CONFIG ?= pkg-config
CLANG_FORMAT ?= clang-format
CLANG_TIDY ?= clang-tidy
CJSON_LIBS ?= -l:liblua5.1-cjson.a
LIBSYSTEMD ?= libsystemd
FUZZ_SECONDS ?= 20
SANITIZE ?=

LIBRARIES := luajit liburing libcares jansson libedit $(LIBSYSTEMD)
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef -Wformat=2 \
	-Wwrite-strings -fno-common
# LuaJIT raises errors through C frames, so every frame needs an unwind table; frame pointers keep profiles readable.
ZERG_CPPFLAGS := -D_GNU_SOURCE -DZERG_VERSION='"$(VERSION)"' -I src $(shell $(PKG_CONFIG) --cflags $(LIBRARIES)) \
	-DZERG_LIBURING_VERSION='"$(shell $(PKG_CONFIG) --modversion liburing)"' $(if $(SANITIZE),-DZERG_DEBUG)
# Left alone, gcc clears a struct of more than some 32 bytes by `rep stos`, which takes longer to begin than all of memset();
# other compilers, and it on other processors, do not know the option.
CALL_MEMSET := -mstringop-strategy=libcall
ZERG_CFLAGS := -std=gnu11 $(WARNINGS) -fPIE -fvisibility=hidden -funwind-tables -fno-omit-frame-pointer -pthread \
	$(shell $(CC) $(CALL_MEMSET) -E -x c /dev/null > /dev/null 2>&1 && echo $(CALL_MEMSET)) $(SANITIZE)
# What Lua calls through FFI (zerg_*, the only visible functions) is found in the program's dynamic symbol table.
ZERG_LDFLAGS := -Wl,--export-dynamic -pie -pthread $(SANITIZE)
ZERG_LIBS := $(shell $(PKG_CONFIG) --libs $(LIBRARIES)) $(CJSON_LIBS) -lm -ldl

# Commands are shown as one word and a file name, unless V is given.
SHOW = $(if $(V),,@printf '  %-8s %s\n' $(1) $@;)

COMPILE = $(CC) $(ZERG_CPPFLAGS) $(CPPFLAGS) $(ZERG_CFLAGS) $(CFLAGS) $(WERROR)
LINK = $(CC) $(ZERG_LDFLAGS) $(CFLAGS) $(LDFLAGS)

# Everything but main.c: what the program and the unit tests share.
SOURCES := $(wildcard src/*/*.c)
OBJECTS := $(SOURCES:%.c=$(BUILD)/obj/%.o) $(BUILD)/obj/lua_modules.o
MAIN_OBJECT := $(BUILD)/obj/src/main.o
RING_OBJECT := $(BUILD)/obj/src/uring/ring.o

GEN := $(BUILD)/gen
LUA_MODULES := $(shell find lua -name '*.lua' 2>/dev/null | LC_ALL=C sort)
CDEF := $(GEN)/lua/zerg/cdef.lua

# A unit test that mentions fake_ring gets tests/unit/fake_ring.c in place of src/uring/ring.c.
UNIT_SOURCES := $(wildcard tests/unit/test_*.c)
FAKE_RING_SOURCES := $(if $(UNIT_SOURCES),$(shell grep -l fake_ring $(UNIT_SOURCES)))
UNIT_TESTS := $(UNIT_SOURCES:tests/unit/%.c=$(BUILD)/unit/%)
FAKE_RING_TESTS := $(FAKE_RING_SOURCES:tests/unit/%.c=$(BUILD)/unit/%)
FAKE_RING_OBJECT := $(BUILD)/obj/tests/unit/fake_ring.o
# Other files in tests/unit are fixtures that tests share; those that do without the fake ring are linked into all.
UNIT_FIXTURES := $(filter-out $(UNIT_SOURCES) tests/unit/fake_ring.c,$(wildcard tests/unit/*.c))
PLAIN_FIXTURES := $(if $(UNIT_FIXTURES),$(shell grep -L fake_ring $(UNIT_FIXTURES)))
FAKE_RING_OBJECTS := $(FAKE_RING_OBJECT) $(filter-out $(RING_OBJECT),$(OBJECTS))

# Each file of tests/fuzz but the glue is an entry: fuzz_NAME(), run by libFuzzer, and on committed inputs by a unit test.
FUZZ_GLUE := tests/fuzz/libfuzzer.c
FUZZ_SOURCES := $(filter-out $(FUZZ_GLUE),$(wildcard tests/fuzz/*.c))
FUZZ_NAMES := $(FUZZ_SOURCES:tests/fuzz/%.c=%)
FUZZERS := $(foreach name,$(FUZZ_NAMES),$(BUILD)/fuzzers/$(name) $(BUILD)/fuzzers/$(name)-canary)
# Parsers need nothing but base.
FUZZ_OBJECTS := $(filter $(BUILD)/obj/src/base/% $(BUILD)/obj/src/proto/%,$(OBJECTS))

TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tools/%,$(wildcard tests/tools/*.c))
BENCH_TOOLS := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/*.c))

LUA_SCRIPTS := $(shell grep -l 'env luajit' scripts/* scripts/check/* 2>/dev/null)
C_FILES := $(wildcard src/*.[ch] src/*/*.[ch] tests/*/*.[ch] tests/*/*/*.[ch])

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all help run test unit spec integration check asan tsan fuzz bench format install install-systemd clean FORCE

all: $(BUILD)/zerg ## the program, build/zerg (default)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile
	@echo "  Variables: CC, CFLAGS, LDFLAGS, BUILD, PREFIX, DESTDIR, FUZZ_SECONDS"

run: all ## build and run zerg.lua.example
	$(BUILD)/zerg run -c zerg.lua.example

# ---- the program ----

$(BUILD)/zerg: $(OBJECTS) $(MAIN_OBJECT)
	$(call SHOW,LINK)$(LINK) -o $@ $^ $(ZERG_LIBS)

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SHOW,CC)$(COMPILE) -MMD -MP -c -o $@ $<

$(BUILD)/obj/lua_modules.o: $(GEN)/lua_modules.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call SHOW,CC)$(COMPILE) -MMD -MP -c -o $@ $<

$(GEN)/lua_modules.c: $(LUA_MODULES) $(CDEF) scripts/bytecode $(BUILD)/lua_files
	$(call SHOW,LUAJIT)$(LUAJIT) scripts/bytecode $@ lua $(LUA_MODULES) -- $(GEN)/lua $(CDEF)

$(CDEF): src/script/api.h scripts/cdef
	@mkdir -p $(@D)
	$(call SHOW,CDEF)$(LUAJIT) scripts/cdef $< > $@

# These two change when the command line, or the set of Lua files, does; what depends on them is then built anew.
define write_if_changed
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(1))' > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
endef

$(BUILD)/flags: FORCE
	$(call write_if_changed,$(COMPILE) $(LINK) $(ZERG_LIBS))

$(BUILD)/lua_files: FORCE
	$(call write_if_changed,$(LUA_MODULES))

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

# ---- tests ----

test: all tests ## unit, spec and integration tests
	tests/run --build $(BUILD) unit spec integration

unit: $(UNIT_TESTS) ## unit tests of the C modules (cmocka)
	tests/run --build $(BUILD) unit

spec: $(CDEF) ## specs of the Lua modules (busted)
	tests/run --build $(BUILD) spec

integration: all $(TOOLS) ## the program as a whole (pytest)
	tests/run --build $(BUILD) integration

.PHONY: tests
tests: $(UNIT_TESTS) $(CDEF) $(TOOLS)

$(FAKE_RING_TESTS): $(BUILD)/unit/%: $(BUILD)/obj/tests/unit/%.o $(UNIT_FIXTURES:%.c=$(BUILD)/obj/%.o) $(FAKE_RING_OBJECTS)
	@mkdir -p $(@D)
	$(call SHOW,LINK)$(LINK) -o $@ $^ $(ZERG_LIBS) -lcmocka

$(BUILD)/unit/%: $(BUILD)/obj/tests/unit/%.o $(PLAIN_FIXTURES:%.c=$(BUILD)/obj/%.o) $(OBJECTS)
	@mkdir -p $(@D)
	$(call SHOW,LINK)$(LINK) -o $@ $^ $(ZERG_LIBS) -lcmocka

$(BUILD)/unit/test_fuzz_replay: $(FUZZ_SOURCES:%.c=$(BUILD)/obj/%.o)

$(BUILD)/tools/http_verdict: $(FUZZ_OBJECTS)

$(BUILD)/tools/%: $(BUILD)/obj/tests/tools/%.o
	@mkdir -p $(@D)
	$(call SHOW,LINK)$(LINK) -o $@ $^ -luring

$(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o
	@mkdir -p $(@D)
	$(call SHOW,LINK)$(LINK) -o $@ $^ -luring

.SECONDARY: # keep the test objects

ASAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined

asan: ## build/asan: program and unit tests with the address and undefined-behaviour sanitizers
	$(MAKE) BUILD=build/asan SANITIZE="$(ASAN_FLAGS)" CFLAGS="-O1 -g" sanitized

tsan: ## build/tsan: the same with the thread sanitizer
	$(MAKE) BUILD=build/tsan SANITIZE=-fsanitize=thread CFLAGS="-O1 -g" sanitized

.PHONY: sanitized
sanitized: all $(UNIT_TESTS)

FUZZ_FLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
FUZZ_LINK = $(COMPILE) -DFUZZ_ENTRY=fuzz_$* $(LDFLAGS) -pie -fsanitize=fuzzer -o $@ $(FUZZ_GLUE) $(filter %.o,$^)

fuzz: ## each parser for FUZZ_SECONDS (20), after a planted mistake has been found in it; needs clang
	$(MAKE) BUILD=build/fuzz CC=clang SANITIZE="$(FUZZ_FLAGS)" CFLAGS="-O1 -g" fuzzers
	tests/fuzz/run --build build/fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_NAMES)

.PHONY: fuzzers
fuzzers: $(FUZZERS)

$(BUILD)/fuzzers/%-canary: $(BUILD)/obj/tests/fuzz/%.o $(FUZZ_OBJECTS) $(FUZZ_GLUE)
	@mkdir -p $(@D)
	$(call SHOW,LINK)$(FUZZ_LINK) -DFUZZ_CANARY

$(BUILD)/fuzzers/%: $(BUILD)/obj/tests/fuzz/%.o $(FUZZ_OBJECTS) $(FUZZ_GLUE)
	@mkdir -p $(@D)
	$(call SHOW,LINK)$(FUZZ_LINK)

bench: all $(BENCH_TOOLS) ## measure against the targets (tests/bench)
	ZERG=$(BUILD)/zerg tests/bench/run

# ---- checks ----

check: ## format, lint, layers, sizes, docs, and a build without warnings by gcc and clang
	$(MAKE) --keep-going check-style check-lint $(RULES) check-werror

# Rules of this project, each a script in scripts/check.
RULES := check-layers check-banned check-sizes check-docs

.PHONY: check-style check-lint check-werror objects $(RULES)
check-style:
	$(CLANG_FORMAT) --dry-run -Werror $(C_FILES)

check-lint: $(GEN)/lua_modules.c
	scripts/check/tidy $(CLANG_TIDY) $(filter %.c,$(C_FILES)) -- -std=gnu11 -I tests/unit $(ZERG_CPPFLAGS)
	luacheck -q lua examples $(wildcard tests/spec zerg.lua.example) $(LUA_SCRIPTS)

$(RULES): check-%: $(CDEF)
	scripts/check/$*

# gcc warns of some things only when it optimizes; clang's warnings need no code to be made.
check-werror:
	$(MAKE) BUILD=build/werror-gcc CC=gcc CFLAGS=-O2 WERROR=-Werror objects
	$(MAKE) BUILD=build/werror-clang CC=clang CFLAGS=-fsyntax-only WERROR=-Werror objects

objects: $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out $(FUZZ_GLUE),$(filter %.c,$(C_FILES)))) $(BUILD)/obj/lua_modules.o

format: ## rewrite the C files in the project's style
	$(CLANG_FORMAT) -i $(C_FILES)

# ---- the rest ----

install: all install-systemd ## into PREFIX (/usr/local), below DESTDIR if given
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/zerg $(DESTDIR)$(PREFIX)/share/doc/zerg
	install -m 755 $(BUILD)/zerg $(DESTDIR)$(PREFIX)/bin/zerg
	cp -R lua $(DESTDIR)$(PREFIX)/share/zerg/
	cp -R README.md LICENSE ARCHITECTURE.md CONTRIBUTING.md zerg.lua.example docs examples $(DESTDIR)$(PREFIX)/share/doc/zerg/

UNITS := zerg.service zerg.socket

install-systemd: ## the units of systemd alone, as `make install` does
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	for unit in $(UNITS); do \
		sed 's|@PREFIX@|$(PREFIX)|g' dist/systemd/$$unit.in > $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit || exit 1; \
	done

clean: ## remove everything that was built
	rm -rf build
