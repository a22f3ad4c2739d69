/* What a container sees: the UUID of each GPU and MIG slice by NVML, one a line. With arguments, makes
 * device nodes by hand first: probe /dev/nvidia1 195 1 ... */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

typedef int (*call)();

static call nvml(void *library, const char *name) {
    call found = (call)dlsym(library, name);
    if (!found) {
        fprintf(stderr, "no %s\n", name);
        exit(2);
    }
    return found;
}

int main(int count, char **words) {
    for (char **node = words + 1; node + 2 < words + count; node += 3)
        if (mknod(node[0], S_IFCHR | 0666, makedev(atoi(node[1]), atoi(node[2])))) {
            perror(node[0]);
            return 1;
        }
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (!library) {
        puts("no library");
        return 0;
    }
    int error = nvml(library, "nvmlInit_v2")();
    if (error) {
        printf("nvmlInit: %d\n", error);
        return 0;
    }
    unsigned cards = 0;
    nvml(library, "nvmlDeviceGetCount_v2")(&cards);
    for (unsigned i = 0; i < cards; i++) {
        void *card, *slice;
        char uuid[96];
        if (nvml(library, "nvmlDeviceGetHandleByIndex_v2")(i, &card))
            continue;
        if (!nvml(library, "nvmlDeviceGetUUID")(card, uuid, sizeof uuid))
            puts(uuid);
        for (unsigned j = 0; !nvml(library, "nvmlDeviceGetMigDeviceHandleByIndex")(card, j, &slice); j++)
            if (!nvml(library, "nvmlDeviceGetUUID")(slice, uuid, sizeof uuid))
                puts(uuid);
    }
    return 0;
}
