/* The simulated NVML: what its files share. state.c reads the state file, device.c finds the GPUs that this
 * process may see, query.c, process.c, topology.c and event.c answer NVML calls from them. */
#ifndef SIMGPU_H
#define SIMGPU_H

#include <stddef.h>

#define NVML __attribute__((visibility("default")))

/* nvmlReturn_t, with NVIDIA's numbers. */
enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NO_PERMISSION = 4,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    TIMEOUT = 10,
    GPU_IS_LOST = 15,
    ARGUMENT_VERSION_MISMATCH = 25,
};

typedef unsigned long long u64;

/* A handle is no address: it names GPU and slice by number, so that it outlives a change of the state. */
typedef struct device *handle;

/* One part of the state file: the driver, a GPU or a MIG slice, with its lines `key = value`. A key may come twice. */
struct line {
    const char *key, *value;
};

struct part {
    enum { DRIVER, CARD, SLICE } kind;
    struct part *next;   /* in the order of the file: slices follow their card */
    struct part *card;   /* of a slice: its card; of a card: itself */
    unsigned number;     /* of a card: its minor number; of a slice: its place on the card */
    struct line *lines;
    int count;
};

/* One NVML call's look at the state: `it` is the GPU or slice that was asked for. */
struct look {
    struct part *driver, *it;
};

/* Begins every call: takes the lock, reads the state again if it changed, finds the handle's part and answers with
 * an error where the state tells this call to fail. The lock is given back when `look` goes out of scope. */
int look_begin(struct look *look, const char *call, handle asked);
void look_end(struct look *look);

#define LOOK(call, asked)                                                 \
    struct look look __attribute__((cleanup(look_end))) = {NULL, NULL};   \
    int refused = look_begin(&look, call, asked);                         \
    if (refused)                                                          \
    return refused

#define ENTER(asked)             \
    if (!(asked))                \
        return INVALID_ARGUMENT; \
    LOOK(__func__, asked)

#define ENTER_DRIVER() LOOK(__func__, NULL)

int refusal(const struct part *part, const char *call); /* the error that the state prescribes, or 0 */

const char *value_of(const struct part *part, const char *key); /* NULL where absent or N/A */
int number(const struct part *part, const char *key, u64 *out);
int small(const struct part *part, const char *key, unsigned *out);
int text(const struct part *part, const char *key, char *out, unsigned size);
u64 number_or(const struct part *part, const char *key, u64 otherwise);

int driver_opens(const struct part *driver); /* SUCCESS, or why this process cannot reach the driver */
int visible(const struct part *driver, const struct part *part);
struct part *card_by_number(const struct part *driver, unsigned minor);
handle handle_of(const struct part *part);
handle visible_card(const struct part *driver, unsigned index);
unsigned index_of(const struct part *driver, const struct part *part);

#endif
