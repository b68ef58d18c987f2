/* The timer wheel; see timer.h for its invariant. */
#include "core/timer.h"

#include "base/assert.h"

static_assert(TIMER_LEVEL_SLOTS == 64, "one word of occupied bits per level");

/* A slot's place in the wheel and the time at which its range begins. */
struct place {
    unsigned level;
    unsigned index;
    uint64_t begin_ms;
};

static struct place place_of(const struct timer_wheel *wheel, uint64_t at_ms);
static bool find_next(const struct timer_wheel *wheel, struct place *place);
static void insert(struct timer_wheel *wheel, struct timer *timer);
static void open_slot(struct timer_wheel *wheel, const struct place *place);
static void fire_collected(struct timer_wheel *wheel, uint64_t now_ms);

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms)
{
    assert(now_ms <= TIMER_MS_MAX);
    *wheel = (struct timer_wheel){.now_ms = now_ms};
    list_init(&wheel->overdue);
    list_init(&wheel->firing);
    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        for (unsigned index = 0; index < TIMER_LEVEL_SLOTS; index++)
            list_init(&wheel->slots[level][index].timers);
    }
}

void timer_wheel_deinit(struct timer_wheel *wheel)
{
    assert(wheel->armed == 0);
    assert(!wheel->is_advancing);
}

void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms)
{
    struct place next;

    assert(!wheel->is_advancing);
    assert(now_ms <= TIMER_MS_MAX);
    if (now_ms < wheel->now_ms)
        now_ms = wheel->now_ms;

    list_splice_tail(&wheel->firing, &wheel->overdue);
    while (find_next(wheel, &next) && next.begin_ms <= now_ms) {
        wheel->now_ms = next.begin_ms;
        open_slot(wheel, &next);
    }
    wheel->now_ms = now_ms;
    fire_collected(wheel, now_ms);
}

uint64_t timer_wheel_next_ms(const struct timer_wheel *wheel)
{
    struct place next;

    if (!list_is_empty(&wheel->overdue))
        return wheel->now_ms;
    if (!find_next(wheel, &next))
        return TIMER_NEVER;
    return wheel->slots[next.level][next.index].earliest_ms;
}

void timer_init(struct timer *timer, void (*fire)(struct timer *timer, uint64_t now_ms))
{
    assert(fire);
    list_init(&timer->link);
    timer->at_ms = 0;
    timer->fire = fire;
}

void timer_start(struct timer_wheel *wheel, struct timer *timer, uint64_t at_ms)
{
    timer_stop(wheel, timer);
    timer->at_ms = at_ms < TIMER_MS_MAX ? at_ms : TIMER_MS_MAX;
    if (timer->at_ms > wheel->now_ms)
        insert(wheel, timer);
    else
        list_add_tail(&wheel->overdue, &timer->link);
    wheel->armed++;
}

void timer_stop(struct timer_wheel *wheel, struct timer *timer)
{
    if (!timer_is_armed(timer))
        return;
    assert(wheel->armed > 0);
    wheel->armed--;
    list_del(&timer->link);
    if (timer->at_ms <= wheel->now_ms)
        return; /* was on the list of overdue or of firing ones */
    struct place place = place_of(wheel, timer->at_ms);
    if (list_is_empty(&wheel->slots[place.level][place.index].timers))
        wheel->occupied[place.level] &= ~(1ULL << place.index);
}

bool timer_is_armed(const struct timer *timer)
{
    return list_is_linked(&timer->link);
}

/* Where a time after the wheel's present one belongs. */
static struct place place_of(const struct timer_wheel *wheel, uint64_t at_ms)
{
    debug_assert(at_ms > wheel->now_ms);
    unsigned highest_bit = 63u - (unsigned)__builtin_clzll(at_ms ^ wheel->now_ms);
    unsigned level = highest_bit / TIMER_LEVEL_BITS;
    unsigned shift = level * TIMER_LEVEL_BITS;

    return (struct place){
        .level = level,
        .index = (unsigned)(at_ms >> shift) & (TIMER_LEVEL_SLOTS - 1),
        .begin_ms = at_ms >> shift << shift,
    };
}

/* The occupied slot whose range begins first; false when there is none. */
static bool find_next(const struct timer_wheel *wheel, struct place *place)
{
    unsigned level = 0;

    while (level < TIMER_LEVELS && wheel->occupied[level] == 0)
        level++;
    if (level == TIMER_LEVELS)
        return false;

    unsigned shift = level * TIMER_LEVEL_BITS;
    uint64_t above = wheel->now_ms >> shift >> TIMER_LEVEL_BITS << TIMER_LEVEL_BITS;
    place->level = level;
    place->index = (unsigned)__builtin_ctzll(wheel->occupied[level]);
    place->begin_ms = (above | place->index) << shift;
    return true;
}

static void insert(struct timer_wheel *wheel, struct timer *timer)
{
    struct place place = place_of(wheel, timer->at_ms);
    struct timer_slot *slot = &wheel->slots[place.level][place.index];

    if (list_is_empty(&slot->timers) || timer->at_ms < slot->earliest_ms)
        slot->earliest_ms = timer->at_ms;
    list_add_tail(&slot->timers, &timer->link);
    wheel->occupied[place.level] |= 1ULL << place.index;
}

/* The wheel's time has reached the slot: what is due now is collected, the rest moves to lower levels. */
static void open_slot(struct timer_wheel *wheel, const struct place *place)
{
    struct list timers;
    struct list *link;

    list_init(&timers);
    list_splice_tail(&timers, &wheel->slots[place->level][place->index].timers);
    wheel->occupied[place->level] &= ~(1ULL << place->index);

    while ((link = list_pop(&timers))) {
        struct timer *timer = CONTAINER_OF(link, struct timer, link);

        if (timer->at_ms > wheel->now_ms)
            insert(wheel, timer);
        else
            list_add_tail(&wheel->firing, &timer->link);
    }
}

static void fire_collected(struct timer_wheel *wheel, uint64_t now_ms)
{
    struct list *link;

    wheel->is_advancing = true;
    while ((link = list_pop(&wheel->firing))) {
        struct timer *timer = CONTAINER_OF(link, struct timer, link);

        wheel->armed--;
        timer->fire(timer, now_ms);
    }
    wheel->is_advancing = false;
}
