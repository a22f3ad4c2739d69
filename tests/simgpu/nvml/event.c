/* Event sets: the driver's lines `event = sequence minor type data gi ci`; an Xid is of type 8. A waiting call looks
 * at the state every 10 ms, and answers GPU_IS_LOST, as NVML's reference says, once a registered GPU is lost. */
#include "simgpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_CARDS 64

struct set {
    u64 seen; /* the last event's sequence number that this set is done with */
    int count;
    struct {
        handle card;
        u64 types;
    } cards[MAX_CARDS];
};

struct event {
    handle card;
    u64 type, data;
    unsigned gi, ci;
};

static u64 read_event(const char *line, struct event *out) {
    u64 sequence;
    unsigned minor;
    if (sscanf(line, "%llu %u %llu %llu %u %u", &sequence, &minor, &out->type, &out->data, &out->gi, &out->ci) != 6)
        return 0;
    out->card = (handle)(((size_t)minor + 1) << 8);
    return sequence;
}

static u64 last_event(const struct part *driver) {
    struct event event;
    u64 last = 0;
    for (int i = 0; i < driver->count; i++)
        if (!strcmp(driver->lines[i].key, "event"))
            last = read_event(driver->lines[i].value, &event);
    return last;
}

static int wanted(const struct set *set, const struct event *event) {
    for (int i = 0; i < set->count; i++)
        if (set->cards[i].card == event->card && set->cards[i].types & event->type)
            return 1;
    return 0;
}

static int next_event(const struct part *driver, struct set *set, struct event *out) {
    for (int i = 0; i < driver->count; i++) {
        u64 sequence = strcmp(driver->lines[i].key, "event") ? 0 : read_event(driver->lines[i].value, out);
        if (sequence <= set->seen)
            continue;
        set->seen = sequence;
        if (wanted(set, out))
            return 1;
    }
    return 0;
}

static int any_lost(const struct part *driver, const struct set *set) {
    for (int i = 0; i < set->count; i++) {
        const struct part *card = card_by_number(driver, (unsigned)((size_t)set->cards[i].card >> 8) - 1);
        if (!card || refusal(card, "nvmlEventSetWait") == GPU_IS_LOST)
            return 1;
    }
    return 0;
}

NVML int nvmlEventSetCreate(struct set **out) {
    ENTER_DRIVER();
    if (!out)
        return INVALID_ARGUMENT;
    *out = calloc(1, sizeof **out);
    (*out)->seen = last_event(look.driver);
    return SUCCESS;
}

NVML int nvmlEventSetFree(struct set *set) {
    ENTER_DRIVER();
    free(set);
    return SUCCESS;
}

NVML int nvmlDeviceGetSupportedEventTypes(handle asked, u64 *out) {
    ENTER(asked);
    return number(look.it, "event_types", out);
}

NVML int nvmlDeviceRegisterEvents(handle asked, u64 types, struct set *set) {
    ENTER(asked);
    u64 supported;
    int error = set && set->count < MAX_CARDS ? number(look.it, "event_types", &supported) : INVALID_ARGUMENT;
    if (error || types & ~supported)
        return error ? error : NOT_SUPPORTED;
    set->cards[set->count].card = asked;
    set->cards[set->count++].types = types;
    return SUCCESS;
}

static int poll_set(const char *call, struct set *set, struct event *out) {
    LOOK(call, NULL);
    if (next_event(look.driver, set, out))
        return SUCCESS;
    return any_lost(look.driver, set) ? GPU_IS_LOST : TIMEOUT;
}

static int await_event(const char *call, struct set *set, struct event *out, unsigned timeout_ms) {
    const struct timespec pause = {0, 10 * 1000000};
    for (unsigned waited = 0;; waited += 10) {
        int answer = set && out ? poll_set(call, set, out) : INVALID_ARGUMENT;
        if (answer != TIMEOUT || waited >= timeout_ms)
            return answer;
        nanosleep(&pause, NULL);
    }
}

NVML int nvmlEventSetWait_v2(struct set *set, struct event *out, unsigned timeout_ms) {
    return await_event(__func__, set, out, timeout_ms);
}

NVML int nvmlEventSetWait(struct set *set, void *out, unsigned timeout_ms) { /* without the two instance ids */
    struct event event;
    int error = await_event(__func__, set, &event, timeout_ms);
    if (!error)
        memcpy(out, &event, offsetof(struct event, gi));
    return error;
}
