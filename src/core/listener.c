/* See listener.h. */
#include "core/listener.h"

#include "core/admission.h"
#include "core/reactor.h"

const struct conn_handler *listener_handler(const struct listener *listener, const struct reactor_app *app)
{
    if (listener->config->forward)
        return app->forward_handler;
    return listener->config->protocol == PROTOCOL_HTTP ? app->http_handler : app->conn_handler;
}

const struct conn_handler *listener_first_handler(const struct listener *listener, const struct reactor_app *app)
{
    if (listener->config->accepts_proxy) /* which admits clients when it knows them */
        return app->proxy_accept_handler;
    return UNLIKELY(listener->config->connections_per_ip > 0) ? &admission_handler : listener_handler(listener, app);
}
