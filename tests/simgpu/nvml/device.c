/* Which GPUs this process may see, and their handles.
 *
 * No driver stands behind the device nodes, so open() answers ENXIO where the device cgroup lets the node through
 * and EPERM where it does not: a GPU is listed exactly where the cgroup allows it, whatever nodes the user made. */
#include "simgpu.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define NVIDIA_MAJOR 195
#define CAPS_MAJOR 120 /* see nodes.py: reserved for local use, so no driver ever owns it */
#define CONTROL_MINOR 255

static int node_error(const char *path, unsigned major, unsigned minor) {
    struct stat node;
    if (stat(path, &node))
        return errno;
    if (!S_ISCHR(node.st_mode) || node.st_rdev != makedev(major, minor))
        return ENODEV; /* another device under the GPU's name */
    int file = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return errno;
    close(file);
    return EEXIST; /* a driver answers: not ours */
}

static int lets_through(const char *path, unsigned major, unsigned minor) {
    return node_error(path, major, minor) == ENXIO;
}

static int has_nodes(const struct part *driver) { return number_or(driver, "device_nodes", 1) != 0; }

int driver_opens(const struct part *driver) {
    if (!has_nodes(driver))
        return SUCCESS;
    switch (node_error("/dev/nvidiactl", NVIDIA_MAJOR, CONTROL_MINOR)) {
    case ENXIO:
        return SUCCESS;
    case EPERM:
    case EACCES:
        return NO_PERMISSION;
    default:
        return DRIVER_NOT_LOADED;
    }
}

static int capability(const struct part *slice, const char *key) {
    char path[64];
    unsigned minor = (unsigned)number_or(slice, key, 0);
    snprintf(path, sizeof path, "/dev/nvidia-caps/nvidia-cap%u", minor);
    return lets_through(path, CAPS_MAJOR, minor);
}

int visible(const struct part *driver, const struct part *part) {
    if (part->kind == DRIVER)
        return 0;
    if (!has_nodes(driver))
        return 1;
    char path[64];
    snprintf(path, sizeof path, "/dev/nvidia%u", part->card->number);
    if (!lets_through(path, NVIDIA_MAJOR, part->card->number))
        return 0;
    return part->kind == CARD || (capability(part, "gi_capability") && capability(part, "ci_capability"));
}

handle handle_of(const struct part *part) {
    uintptr_t slice = part->kind == SLICE ? part->number + 1 : 0;
    return (handle)(((uintptr_t)part->card->number + 1) << 8 | slice);
}

struct part *card_by_number(const struct part *driver, unsigned minor) {
    for (struct part *part = driver->next; part; part = part->next)
        if (part->kind == CARD && part->number == minor)
            return part;
    return NULL;
}

/* Cards and slices are counted among those that this process sees. */
static struct part *nth(const struct part *driver, const struct part *of, unsigned index) {
    for (struct part *part = driver->next; part; part = part->next) {
        int wanted = of ? part->kind == SLICE && part->card == of : part->kind == CARD;
        if (wanted && visible(driver, part) && !index--)
            return part;
    }
    return NULL;
}

unsigned index_of(const struct part *driver, const struct part *part) {
    unsigned index = 0;
    const struct part *of = part->kind == SLICE ? part->card : NULL;
    while (nth(driver, of, index) && nth(driver, of, index) != part)
        index++;
    return index;
}

handle visible_card(const struct part *driver, unsigned index) {
    struct part *card = nth(driver, NULL, index);
    return card ? handle_of(card) : NULL;
}

static int hand_out(const struct part *part, const char *call, handle *out) {
    int error = part ? refusal(part->card, call) : INVALID_ARGUMENT;
    if (!error && !out)
        error = INVALID_ARGUMENT;
    if (!error)
        *out = handle_of(part);
    return error;
}

static int same_text(const char *mine, const char *asked) { return mine && !strcmp(mine, asked); }

/* `0000:17:00.0` and `00000000:17:00.0` name the same place. */
static int same_place(const char *mine, const char *asked) {
    unsigned d[4], e[4];
    return mine && sscanf(mine, "%x:%x:%x.%x", &d[0], &d[1], &d[2], &d[3]) >= 3 &&
           sscanf(asked, "%x:%x:%x.%x", &e[0], &e[1], &e[2], &e[3]) >= 3 && d[0] == e[0] && d[1] == e[1] &&
           d[2] == e[2];
}

static int find_by(const struct look *look, const char *call, const char *key, const char *asked,
                   int (*same)(const char *, const char *), handle *out) {
    if (!asked)
        return INVALID_ARGUMENT;
    for (struct part *part = look->driver->next; part; part = part->next)
        if (same(value_of(part, key), asked) && visible(look->driver, part))
            return hand_out(part, call, out);
    return NOT_FOUND;
}

static int count_cards(const char *call, unsigned *out) {
    LOOK(call, NULL);
    if (!out)
        return INVALID_ARGUMENT;
    for (*out = 0; nth(look.driver, NULL, *out); ++*out)
        ;
    return SUCCESS;
}

NVML int nvmlDeviceGetCount(unsigned *out) { return count_cards(__func__, out); }
NVML int nvmlDeviceGetCount_v2(unsigned *out) { return count_cards(__func__, out); }

NVML int nvmlDeviceGetHandleByIndex_v2(unsigned index, handle *out) {
    ENTER_DRIVER();
    return hand_out(nth(look.driver, NULL, index), __func__, out);
}
NVML int nvmlDeviceGetHandleByIndex(unsigned index, handle *out) {
    return nvmlDeviceGetHandleByIndex_v2(index, out);
}

NVML int nvmlDeviceGetHandleByUUID(const char *uuid, handle *out) {
    ENTER_DRIVER();
    return find_by(&look, __func__, "uuid", uuid, same_text, out);
}

NVML int nvmlDeviceGetHandleBySerial(const char *serial, handle *out) {
    ENTER_DRIVER();
    return find_by(&look, __func__, "serial", serial, same_text, out);
}

NVML int nvmlDeviceGetHandleByPciBusId_v2(const char *place, handle *out) {
    ENTER_DRIVER();
    return find_by(&look, __func__, "pci_bus_id", place, same_place, out);
}
NVML int nvmlDeviceGetHandleByPciBusId(const char *place, handle *out) {
    return nvmlDeviceGetHandleByPciBusId_v2(place, out);
}

NVML int nvmlDeviceGetIndex(handle asked, unsigned *out) {
    ENTER(asked);
    if (!out)
        return INVALID_ARGUMENT;
    *out = index_of(look.driver, look.it);
    return SUCCESS;
}

/* MIG. */

NVML int nvmlDeviceGetMigMode(handle asked, unsigned *current, unsigned *pending) {
    ENTER(asked);
    int error = small(look.it, "mig_mode", current);
    if (!error && pending)
        *pending = (unsigned)number_or(look.it, "mig_mode_pending", *current);
    return error;
}

NVML int nvmlDeviceGetMaxMigDeviceCount(handle asked, unsigned *out) {
    ENTER(asked);
    if (!out)
        return INVALID_ARGUMENT;
    *out = (unsigned)number_or(look.it, "mig_max_slices", 0);
    return SUCCESS;
}

NVML int nvmlDeviceGetMigDeviceHandleByIndex(handle asked, unsigned index, handle *out) {
    ENTER(asked);
    if (look.it->kind != CARD || !value_of(look.it, "mig_mode"))
        return NOT_SUPPORTED;
    struct part *slice = number_or(look.it, "mig_mode", 0) ? nth(look.driver, look.it, index) : NULL;
    if (!slice)
        return NOT_FOUND; /* with MIG off, too */
    return hand_out(slice, __func__, out);
}

NVML int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle asked, handle *out) {
    ENTER(asked);
    if (look.it->kind != SLICE || !out)
        return INVALID_ARGUMENT;
    *out = handle_of(look.it->card);
    return SUCCESS;
}

NVML int nvmlDeviceIsMigDeviceHandle(handle asked, unsigned *out) {
    ENTER(asked);
    if (!out)
        return INVALID_ARGUMENT;
    *out = look.it->kind == SLICE;
    return SUCCESS;
}

NVML int nvmlDeviceGetGpuInstanceId(handle asked, unsigned *out) {
    ENTER(asked);
    return small(look.it, "gi", out);
}

NVML int nvmlDeviceGetComputeInstanceId(handle asked, unsigned *out) {
    ENTER(asked);
    return small(look.it, "ci", out);
}
