/* Where a GPU sits: PCI place, how near two GPUs are, NVLinks (`nvlink.3 = gpu 1`, `= switch` or `= down`). */
#include "simgpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pci {
    char legacy_id[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char id[32];
};

struct pci_v2 {
    char id[16];
    unsigned domain, bus, device, device_id, subsystem_id, reserved[4];
};

struct pci_ext {
    unsigned version, domain, bus, device, device_id, subsystem_id, base_class, sub_class;
    char id[32];
};

static int pci_at(const char *place, u64 device_id, struct pci *out) {
    unsigned function;
    if (!out)
        return INVALID_ARGUMENT;
    memset(out, 0, sizeof *out);
    if (!place || sscanf(place, "%x:%x:%x.%x", &out->domain, &out->bus, &out->device, &function) < 3)
        return NOT_SUPPORTED;
    snprintf(out->legacy_id, sizeof out->legacy_id, "%04X:%02X:%02X.0", out->domain & 0xFFFF, out->bus & 0xFF,
             out->device & 0xFF);
    snprintf(out->id, sizeof out->id, "%08X:%02X:%02X.0", out->domain, out->bus, out->device);
    out->device_id = (unsigned)device_id;
    return SUCCESS;
}

static int pci_of(const struct part *it, struct pci *out) {
    return pci_at(value_of(it, "pci_bus_id"), number_or(it, "pci_device_id", 0), out);
}

NVML int nvmlDeviceGetPciInfo_v3(handle asked, struct pci *out) {
    ENTER(asked);
    return pci_of(look.it, out);
}

NVML int nvmlDeviceGetPciInfo_v2(handle asked, struct pci_v2 *out) {
    ENTER(asked);
    struct pci pci;
    int error = out ? pci_of(look.it, &pci) : INVALID_ARGUMENT;
    if (error)
        return error;
    *out = (struct pci_v2){"", pci.domain, pci.bus, pci.device, pci.device_id, pci.subsystem_id, {0}};
    memcpy(out->id, pci.legacy_id, sizeof out->id);
    return SUCCESS;
}
NVML int nvmlDeviceGetPciInfo(handle asked, struct pci_v2 *out) { return nvmlDeviceGetPciInfo_v2(asked, out); }

NVML int nvmlDeviceGetPciInfoExt(handle asked, struct pci_ext *out) {
    ENTER(asked);
    struct pci pci;
    int error = out ? pci_of(look.it, &pci) : INVALID_ARGUMENT;
    if (error)
        return error;
    *out = (struct pci_ext){out->version, pci.domain, pci.bus, pci.device, pci.device_id, pci.subsystem_id, 3, 2, ""};
    memcpy(out->id, pci.id, sizeof out->id);
    return SUCCESS;
}

/* Two GPUs. The second handle is looked up in the first one's look. */

static const struct part *other_card(const struct look *look, handle other) {
    unsigned long bits = (unsigned long)other;
    return bits >> 8 ? card_by_number(look->driver, (unsigned)(bits >> 8) - 1) : NULL;
}

static unsigned direct_links(const struct part *from, unsigned minor) {
    char wanted[32];
    unsigned found = 0;
    snprintf(wanted, sizeof wanted, "gpu %u", minor);
    for (int i = 0; i < from->count; i++)
        found += !strncmp(from->lines[i].key, "nvlink.", 7) && !strcmp(from->lines[i].value, wanted);
    return found;
}

static unsigned switch_links(const struct part *from) {
    unsigned found = 0;
    for (int i = 0; i < from->count; i++)
        found += !strncmp(from->lines[i].key, "nvlink.", 7) && !strcmp(from->lines[i].value, "switch");
    return found;
}

static int linked(const struct part *a, const struct part *b) {
    return direct_links(a, b->number) || (switch_links(a) && switch_links(b));
}

static int nearness(const struct part *a, const struct part *b, unsigned *out) {
    char key[32];
    snprintf(key, sizeof key, "topology.%u", b->number);
    return small(a, key, out);
}

NVML int nvmlDeviceGetTopologyCommonAncestor(handle asked, handle other, unsigned *out) {
    ENTER(asked);
    const struct part *peer = other_card(&look, other);
    return peer ? nearness(look.it, peer, out) : INVALID_ARGUMENT;
}

NVML int nvmlDeviceGetTopologyNearestGpus(handle asked, unsigned level, unsigned *count, handle *out) {
    ENTER(asked);
    unsigned found = 0, room = count ? *count : 0, near;
    if (!count)
        return INVALID_ARGUMENT;
    for (unsigned i = 0; visible_card(look.driver, i); i++) {
        handle card = visible_card(look.driver, i);
        const struct part *peer = other_card(&look, card);
        if (peer == look.it || nearness(look.it, peer, &near) || near > level)
            continue;
        if (out && found < room)
            out[found] = card;
        found++;
    }
    *count = found;
    return SUCCESS;
}

NVML int nvmlDeviceGetP2PStatus(handle asked, handle other, unsigned capability, unsigned *out) {
    enum { READ, WRITE, NVLINK, OK = 0, CHIPSET_NOT_SUPPORTED = 1, UNSUPPORTED = 5, HOSTBRIDGE = 30 };
    ENTER(asked);
    const struct part *peer = other_card(&look, other);
    unsigned near;
    if (!peer || !out || peer == look.it)
        return INVALID_ARGUMENT;
    if (linked(look.it, peer))
        *out = OK;
    else if (capability == NVLINK)
        *out = UNSUPPORTED;
    else
        *out = !nearness(look.it, peer, &near) && near <= HOSTBRIDGE ? OK : CHIPSET_NOT_SUPPORTED;
    return SUCCESS;
}

/* NVLinks */

static int link_end(const struct part *it, unsigned link, const char **out) {
    char key[32];
    snprintf(key, sizeof key, "nvlink.%u", link);
    *out = value_of(it, key);
    return *out ? SUCCESS : value_of(it, "nvlink.0") ? INVALID_ARGUMENT : NOT_SUPPORTED;
}

NVML int nvmlDeviceGetNvLinkState(handle asked, unsigned link, unsigned *out) {
    ENTER(asked);
    const char *end;
    int error = out ? link_end(look.it, link, &end) : INVALID_ARGUMENT;
    if (!error)
        *out = strcmp(end, "down") != 0;
    return error;
}

NVML int nvmlDeviceGetNvLinkVersion(handle asked, unsigned link, unsigned *out) {
    ENTER(asked);
    const char *end;
    int error = link_end(look.it, link, &end);
    return error ? error : small(look.it, "nvlink_version", out);
}

NVML int nvmlDeviceGetNvLinkCapability(handle asked, unsigned link, unsigned capability, unsigned *out) {
    ENTER(asked);
    const char *end;
    int error = out ? link_end(look.it, link, &end) : INVALID_ARGUMENT;
    if (!error)
        *out = capability <= 3; /* P2P, system memory, atomics of both; no SLI bridge */
    return error;
}

NVML int nvmlDeviceGetNvLinkErrorCounter(handle asked, unsigned link, unsigned counter, u64 *out) {
    ENTER(asked);
    const char *end;
    (void)counter;
    int error = out ? link_end(look.it, link, &end) : INVALID_ARGUMENT;
    if (!error)
        *out = 0;
    return error;
}

NVML int nvmlDeviceGetNvLinkRemotePciInfo_v2(handle asked, unsigned link, struct pci *out) {
    ENTER(asked);
    const char *end;
    int error = link_end(look.it, link, &end);
    if (error)
        return error;
    if (!strcmp(end, "switch"))
        return pci_at("00000000:C4:00.0", 0, out);
    const struct part *peer = !strncmp(end, "gpu ", 4) ? card_by_number(look.driver, (unsigned)atoi(end + 4)) : NULL;
    return peer ? pci_of(peer, out) : NOT_FOUND;
}
NVML int nvmlDeviceGetNvLinkRemotePciInfo(handle asked, unsigned link, struct pci *out) {
    return nvmlDeviceGetNvLinkRemotePciInfo_v2(asked, link, out);
}

NVML int nvmlDeviceGetNvLinkRemoteDeviceType(handle asked, unsigned link, unsigned *out) {
    enum { TYPE_GPU = 0, TYPE_SWITCH = 2, TYPE_UNKNOWN = 255 };
    ENTER(asked);
    const char *end;
    int error = out ? link_end(look.it, link, &end) : INVALID_ARGUMENT;
    if (!error)
        *out = !strcmp(end, "switch") ? TYPE_SWITCH : !strncmp(end, "gpu ", 4) ? TYPE_GPU : TYPE_UNKNOWN;
    return error;
}
