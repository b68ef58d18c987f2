/* See proxy.h. */
#include "proxy/proxy.h"

#include <errno.h>
#include <stdlib.h>

#include "core/config.h"
#include "core/engine.h"
#include "core/reactor.h"
#include "proxy/relay.h"
#include "proxy/resolver.h"

enum { RELAYS_PER_BLOCK = 64 };

int proxy_open(struct reactor *reactor)
{
    struct proxy *proxy = calloc(1, sizeof(*proxy));

    if (!proxy)
        return -ENOMEM;
    slab_init(&proxy->relays, sizeof(struct relay), RELAYS_PER_BLOCK, 0);
    reactor->proxy = proxy;
    return resolver_open(&proxy->resolver, reactor, &reactor->engine->config->resolver);
}

void proxy_close(struct reactor *reactor)
{
    if (!reactor->proxy)
        return;
    resolver_close(reactor->proxy->resolver);
    slab_deinit(&reactor->proxy->relays);
    free(reactor->proxy);
    reactor->proxy = NULL;
}
