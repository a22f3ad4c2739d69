/* The processes on a GPU: lines `process = pid namespace pid-there type memory sm mem enc dec gi ci`, a dash for N/A.
 *
 * As with NVIDIA's open kernel driver, a caller gets pids of its own PID namespace and sees no others; the state
 * says `host_pids = 1` for older drivers, which hand the host's pids to everyone. */
#include "simgpu.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define NO_VALUE (~0ull)
#define NO_INSTANCE 0xFFFFFFFFu

struct process {
    unsigned pid, gi, ci, util[4]; /* SM, memory, encoder, decoder, % */
    char type;                     /* c, g or m: compute, graphics, MPS */
    u64 memory;                    /* bytes */
    int samples;                   /* whether it has utilisation figures */
};

static u64 my_namespace(void) {
    struct stat at;
    return stat("/proc/self/ns/pid", &at) ? 0 : at.st_ino;
}

static u64 figure(const char *word) {
    u64 value = NO_VALUE;
    sscanf(word, "%llu", &value);
    return value;
}

static int in_slice(const struct part *it, const struct process *process) {
    return it->kind == CARD ||
           (process->gi == number_or(it, "gi", NO_INSTANCE) && process->ci == number_or(it, "ci", NO_INSTANCE));
}

static int read_process(const struct look *look, const char *line, struct process *out) {
    unsigned host, there;
    u64 space;
    char memory[24], util[4][8], gi[12], ci[12];
    if (sscanf(line, "%u %llu %u %c %23s %7s %7s %7s %7s %11s %11s", &host, &space, &there, &out->type, memory,
               util[0], util[1], util[2], util[3], gi, ci) != 11)
        return 0;
    int by_host = number_or(look->driver, "host_pids", 0) || number_or(look->driver, "namespace", 0) == my_namespace();
    if (!by_host && space != my_namespace())
        return 0;
    out->pid = by_host ? host : there;
    out->memory = figure(memory) == NO_VALUE ? NO_VALUE : figure(memory) << 20;
    out->samples = figure(util[0]) != NO_VALUE;
    for (int i = 0; i < 4; i++)
        out->util[i] = figure(util[i]) == NO_VALUE ? 0 : (unsigned)figure(util[i]);
    out->gi = (unsigned)figure(gi);
    out->ci = (unsigned)figure(ci);
    return in_slice(look->it, out);
}

/* The next process of a type ('*' for any), from line `*at` on. */
static int next(const struct look *look, char type, int *at, struct process *out) {
    const struct part *card = look->it->card;
    for (; *at < card->count; ++*at)
        if (!strcmp(card->lines[*at].key, "process") && read_process(look, card->lines[*at].value, out) &&
            (type == '*' || out->type == type)) {
            ++*at;
            return 1;
        }
    return 0;
}

struct info_v1 {
    unsigned pid;
    u64 memory;
};

struct info_v2 { /* versions 2 and 3 */
    unsigned pid;
    u64 memory;
    unsigned gi, ci;
};

struct detail {
    unsigned pid;
    u64 memory;
    unsigned gi, ci;
    u64 protected_memory;
};

static void put(void *array, unsigned index, size_t size, const struct process *process) {
    if (size == sizeof(struct info_v1))
        ((struct info_v1 *)array)[index] = (struct info_v1){process->pid, process->memory};
    else if (size == sizeof(struct info_v2))
        ((struct info_v2 *)array)[index] = (struct info_v2){process->pid, process->memory, process->gi, process->ci};
    else
        ((struct detail *)array)[index] =
            (struct detail){process->pid, process->memory, process->gi, process->ci, NO_VALUE};
}

static int list(handle asked, const char *call, char type, unsigned *count, void *out, size_t size) {
    if (!asked || !count)
        return INVALID_ARGUMENT;
    LOOK(call, asked);
    struct process process;
    unsigned found = 0, room = out ? *count : 0;
    for (int at = 0; next(&look, type, &at, &process); found++)
        if (found < room)
            put(out, found, size, &process);
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

#define LIST(call, type, info)                                                        \
    NVML int call(handle asked, unsigned *count, struct info *out) {                  \
        return list(asked, __func__, type, count, out, sizeof(struct info));          \
    }

LIST(nvmlDeviceGetComputeRunningProcesses, 'c', info_v1)
LIST(nvmlDeviceGetComputeRunningProcesses_v2, 'c', info_v2)
LIST(nvmlDeviceGetComputeRunningProcesses_v3, 'c', info_v2)
LIST(nvmlDeviceGetGraphicsRunningProcesses, 'g', info_v1)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, 'g', info_v2)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, 'g', info_v2)
LIST(nvmlDeviceGetMPSComputeRunningProcesses, 'm', info_v1)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v2, 'm', info_v2)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, 'm', info_v2)

struct detail_list {
    unsigned version, mode, count;
    struct detail *processes;
};

NVML int nvmlDeviceGetRunningProcessDetailList(handle asked, struct detail_list *out) {
    static const char types[] = {'c', 'g', 'm', '*'};
    if (!out || out->mode > 3)
        return INVALID_ARGUMENT;
    if (out->version != (1 << 24 | sizeof *out))
        return ARGUMENT_VERSION_MISMATCH;
    return list(asked, __func__, types[out->mode], &out->count, out->processes, sizeof(struct detail));
}

/* Utilisation: one sample a process, taken now. */

static u64 now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (u64)now.tv_sec * 1000000 + (u64)now.tv_nsec / 1000;
}

struct sample {
    unsigned pid;
    u64 time;
    unsigned util[4];
};

NVML int nvmlDeviceGetProcessUtilization(handle asked, struct sample *out, unsigned *count, u64 since) {
    ENTER(asked);
    if (!count)
        return INVALID_ARGUMENT;
    if (look.it->kind == SLICE || number_or(look.it, "mig_mode", 0))
        return NOT_SUPPORTED;
    struct process process;
    unsigned found = 0, room = out ? *count : 0;
    u64 now = now_us();
    for (int at = 0; since < now && next(&look, '*', &at, &process);) {
        if (!process.samples)
            continue;
        if (found < room) {
            out[found] = (struct sample){process.pid, now, {0}};
            memcpy(out[found].util, process.util, sizeof process.util);
        }
        found++;
    }
    *count = found;
    return !found ? NOT_FOUND : found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

struct sample_v1 {
    u64 time;
    unsigned pid, util[6];
};

struct samples {
    unsigned version, count;
    u64 since;
    struct sample_v1 *array;
};

NVML int nvmlDeviceGetProcessesUtilizationInfo(handle asked, struct samples *out) {
    ENTER(asked);
    if (!out)
        return INVALID_ARGUMENT;
    if (look.it->kind == SLICE || number_or(look.it, "mig_mode", 0))
        return NOT_SUPPORTED;
    struct process process;
    unsigned found = 0, room = out->array ? out->count : 0;
    u64 now = now_us();
    for (int at = 0; out->since < now && next(&look, '*', &at, &process);) {
        if (!process.samples)
            continue;
        if (found < room) {
            out->array[found] = (struct sample_v1){now, process.pid, {0}};
            memcpy(out->array[found].util, process.util, sizeof process.util);
        }
        found++;
    }
    out->count = found;
    return !found ? NOT_FOUND : found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

NVML int nvmlSystemGetProcessName(unsigned pid, char *out, unsigned size) {
    ENTER_DRIVER();
    char path[64];
    snprintf(path, sizeof path, "/proc/%u/cmdline", pid);
    FILE *file = out && size ? fopen(path, "re") : NULL;
    if (!file)
        return NOT_FOUND;
    size_t got = fread(out, 1, size - 1, file);
    fclose(file);
    out[got] = 0;
    return SUCCESS;
}
