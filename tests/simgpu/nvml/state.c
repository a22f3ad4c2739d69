/* The state file: `[driver]`, `[gpu]` and `[mig]` parts of `key = value` lines, written by driver.py in one rename.
 * It is read again whenever its inode, size or time has changed. Nothing here knows an NVML structure. */
#include "simgpu.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int users;               /* nvmlInit calls not yet shut down */
static struct part *parts;      /* the driver's part first */
static char *content;
static struct stat read_as;

static const char *state_path(void) {
    const char *named = getenv("SIMGPU_STATE");
    return named && *named ? named : "/run/simgpu/state"; /* where a container finds it */
}

static void forget(void) {
    while (parts) {
        struct part *next = parts->next;
        free(parts->lines);
        free(parts);
        parts = next;
    }
    free(content);
    content = NULL;
}

static char *trimmed(char *from, char *to) {
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t' || to[-1] == '\r'))
        to--;
    *to = 0;
    return from;
}

static struct part *new_part(const char *name, struct part *last) {
    struct part *part = calloc(1, sizeof *part);
    part->kind = !strcmp(name, "[gpu]") ? CARD : !strcmp(name, "[mig]") ? SLICE : DRIVER;
    if (part->kind == CARD)
        part->card = part;
    if (part->kind == SLICE && last) {
        part->card = last->card;
        part->number = last->kind == SLICE ? last->number + 1 : 0;
    }
    if (last)
        last->next = part;
    else
        parts = part;
    return part;
}

static void add_line(struct part *part, char *key, char *value) {
    if ((part->count & (part->count + 1)) == 0) /* grow at 0, 1, 3, 7, ... */
        part->lines = realloc(part->lines, (2 * part->count + 2) * sizeof *part->lines);
    part->lines[part->count++] = (struct line){key, value};
    if (part->kind == CARD && !strcmp(key, "minor"))
        part->number = (unsigned)strtoul(value, NULL, 0);
}

static void parse(void) {
    struct part *last = NULL;
    for (char *at = content, *end; at && *at; at = end) {
        end = strchr(at, '\n');
        char *stop = end ? end++ : at + strlen(at);
        char *whole = trimmed(at, stop), *equals = strchr(whole, '=');
        if (*whole == '[')
            last = new_part(whole, last);
        else if (equals && last && *whole != '#')
            add_line(last, trimmed(whole, equals), trimmed(equals + 1, equals + strlen(equals + 1) + 1));
    }
}

static int load(void) {
    struct stat now;
    int file = open(state_path(), O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &now)) {
        if (file >= 0)
            close(file);
        forget();
        return DRIVER_NOT_LOADED;
    }
    int same = parts && now.st_ino == read_as.st_ino && now.st_dev == read_as.st_dev &&
               now.st_size == read_as.st_size && now.st_mtim.tv_sec == read_as.st_mtim.tv_sec &&
               now.st_mtim.tv_nsec == read_as.st_mtim.tv_nsec;
    if (!same) {
        forget();
        content = calloc(1, (size_t)now.st_size + 1);
        for (ssize_t got, have = 0; have < now.st_size; have += got)
            if ((got = read(file, content + have, (size_t)(now.st_size - have))) <= 0)
                break;
        read_as = now;
        parse();
    }
    close(file);
    return parts && parts->kind == DRIVER ? SUCCESS : DRIVER_NOT_LOADED;
}

const char *value_of(const struct part *part, const char *key) {
    for (int i = 0; part && i < part->count; i++)
        if (!strcmp(part->lines[i].key, key))
            return strcmp(part->lines[i].value, "N/A") ? part->lines[i].value : NULL;
    return NULL;
}

int number(const struct part *part, const char *key, u64 *out) {
    const char *value = value_of(part, key);
    if (!out)
        return INVALID_ARGUMENT;
    if (!value)
        return NOT_SUPPORTED;
    *out = (u64)strtoll(value, NULL, 0);
    return SUCCESS;
}

u64 number_or(const struct part *part, const char *key, u64 otherwise) {
    number(part, key, &otherwise);
    return otherwise;
}

int small(const struct part *part, const char *key, unsigned *out) {
    u64 value;
    int error = out ? number(part, key, &value) : INVALID_ARGUMENT;
    if (!error)
        *out = (unsigned)value;
    return error;
}

int text(const struct part *part, const char *key, char *out, unsigned size) {
    const char *value = value_of(part, key);
    if (!out)
        return INVALID_ARGUMENT;
    if (!value)
        return NOT_SUPPORTED;
    if (strlen(value) >= size)
        return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return SUCCESS;
}

/* A line `fail.nvmlX = 15` makes that call (of any version) answer 15, `fail.* = 15` every call without a line. */
static const char *told(const struct part *part, const char *what, const char *call) {
    char key[128], *version;
    snprintf(key, sizeof key, "%s%s", what, call);
    const char *value = value_of(part, key);
    if (!value && (version = strstr(key, "_v"))) {
        *version = 0;
        value = value_of(part, key);
    }
    if (value)
        return value;
    snprintf(key, sizeof key, "%s*", what);
    return value_of(part, key);
}

int refusal(const struct part *part, const char *call) {
    const char *value = told(part, "fail.", call);
    return value ? atoi(value) : SUCCESS;
}

static struct part *find(handle asked) {
    for (struct part *part = parts; part; part = part->next)
        if (part->kind != DRIVER && handle_of(part) == asked)
            return part;
    return NULL;
}

/* How often each function was called in this process. The names are the compiler's own (__func__). */
static struct {
    const char *call;
    u64 times;
} counted[512];

static void count(const char *call) {
    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++)
        if (!counted[i].call || !strcmp(counted[i].call, call)) {
            counted[i].call = call;
            counted[i].times++;
            return;
        }
}

/* Not NVIDIA's: the calls of one function, without its version, or of all for NULL. A wait for events counts each
 * of its looks. */
NVML u64 simgpu_calls(const char *of) {
    u64 times = 0;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < sizeof counted / sizeof *counted && counted[i].call; i++) {
        size_t length = of ? strlen(of) : 0;
        const char *rest = counted[i].call + length;
        if (!of || (!strncmp(counted[i].call, of, length) && (!*rest || !strncmp(rest, "_v", 2))))
            times += counted[i].times;
    }
    pthread_mutex_unlock(&lock);
    return times;
}

/* `hang.nvmlX = 2000` holds that call for 2 s, as a driver in trouble does; `cost.nvmlX = 4500` of the driver makes
 * it take 4.5 ms, as a healthy one does. The lock is free meanwhile. */
static void hang(const struct part *part, const char *call) {
    const char *held = told(part, "hang.", call), *cost = told(parts, "cost.", call);
    u64 wait = (held ? strtoull(held, NULL, 0) * 1000 : 0) + (cost ? strtoull(cost, NULL, 0) : 0);
    if (!wait)
        return;
    struct timespec time = {(time_t)(wait / 1000000), (long)(wait % 1000000) * 1000};
    pthread_mutex_unlock(&lock);
    nanosleep(&time, NULL);
    pthread_mutex_lock(&lock);
}

int look_begin(struct look *look, const char *call, handle asked) {
    pthread_mutex_lock(&lock);
    count(call);
    if (!users)
        return UNINITIALIZED;
    for (int waited = 0; waited < 2; waited++) {
        int error = load();
        if (error)
            return error;
        look->driver = parts;
        look->it = asked ? find(asked) : NULL;
        if (asked && !look->it)
            return GPU_IS_LOST; /* the state names it no more: pulled out */
        if (!waited)
            hang(look->it ? look->it->card : look->driver, call);
    }
    int error = refusal(look->driver, call);
    if (!error && look->it)
        error = refusal(look->it->card, call);
    if (!error && look->it && look->it->kind == SLICE)
        error = refusal(look->it, call);
    return error;
}

void look_end(struct look *look) {
    (void)look;
    pthread_mutex_unlock(&lock);
}

static int init(void) {
    pthread_mutex_lock(&lock);
    count("nvmlInit");
    int error = load();
    if (!error) {
        hang(parts, "nvmlInit");
        error = load();
    }
    if (!error)
        error = refusal(parts, "nvmlInit");
    if (!error)
        error = driver_opens(parts);
    if (!error)
        users++;
    pthread_mutex_unlock(&lock);
    return error;
}

NVML int nvmlInit(void) { return init(); }
NVML int nvmlInit_v2(void) { return init(); }
NVML int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    return init();
}

NVML int nvmlShutdown(void) {
    pthread_mutex_lock(&lock);
    count(__func__);
    int error = users ? SUCCESS : UNINITIALIZED;
    if (users)
        users--;
    pthread_mutex_unlock(&lock);
    return error;
}
