/* Intrusive doubly linked list. An unlinked node points to itself, so list_del() is idempotent and
 * list_is_linked() needs no flag beside the node. */
#pragma once

#include <stdbool.h>

#include "base/macros.h"

struct list {
    struct list *prev;
    struct list *next;
};

static inline void list_init(struct list *list)
{
    list->prev = list;
    list->next = list;
}

static inline bool list_is_empty(const struct list *list)
{
    return list->next == list;
}

/* True while node is on some list (the head of a non-empty list counts as linked too). */
static inline bool list_is_linked(const struct list *node)
{
    return node->next != node;
}

static inline void list_add_tail(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void list_del(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Takes node off whatever list it is on and puts it last on head. */
static inline void list_move_tail(struct list *head, struct list *node)
{
    list_del(node);
    list_add_tail(head, node);
}

/* Removes and returns the first node, NULL when the list is empty. */
static inline struct list *list_pop(struct list *head)
{
    struct list *node = head->next;

    if (node == head)
        return NULL;
    list_del(node);
    return node;
}

/* Moves all nodes of from to the end of to; from is empty afterwards. */
static inline void list_splice_tail(struct list *to, struct list *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}
