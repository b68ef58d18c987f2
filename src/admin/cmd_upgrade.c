/* See cmd_upgrade.h. */
#include "admin/cmd_upgrade.h"

#include "admin/control.h"
#include "admin/service.h"

void cmd_upgrade(struct control_request *request, const struct control_words *words)
{
    if (words->count != 1)
        control_misused(request);
    else
        service_upgrade(control_context(request), request);
}
