/* Facts and figures of one GPU. Most calls hand out one value of the state: a key that is absent or N/A answers
 * NOT_SUPPORTED, which is how models, MIG slices and unified memory differ. */
#include "simgpu.h"

#include <stdio.h>
#include <string.h>

#define MIB(n) ((u64)(n) << 20)

#define UINT(call, key)                      \
    NVML int call(handle asked, unsigned *out) { \
        ENTER(asked);                        \
        return small(look.it, key, out);     \
    }

#define LONG(call, key)                  \
    NVML int call(handle asked, u64 *out) { \
        ENTER(asked);                    \
        return number(look.it, key, out); \
    }

#define TEXT(call, key)                                  \
    NVML int call(handle asked, char *out, unsigned size) { \
        ENTER(asked);                                    \
        return text(look.it, key, out, size);            \
    }

#define PAIR(call, first, second)                              \
    NVML int call(handle asked, unsigned *a, unsigned *b) {    \
        ENTER(asked);                                          \
        int error = small(look.it, first, a);                  \
        return error ? error : small(look.it, second, b);      \
    }

/* Identity */
TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetUUID, "uuid")
TEXT(nvmlDeviceGetSerial, "serial")
TEXT(nvmlDeviceGetVbiosVersion, "vbios")
TEXT(nvmlDeviceGetBoardPartNumber, "part_number")
UINT(nvmlDeviceGetMinorNumber, "minor")
UINT(nvmlDeviceGetBrand, "brand")
UINT(nvmlDeviceGetArchitecture, "architecture")
UINT(nvmlDeviceGetBoardId, "board_id")
UINT(nvmlDeviceGetMultiGpuBoard, "multi_gpu_board")
UINT(nvmlDeviceGetNumGpuCores, "cores")
UINT(nvmlDeviceGetMemoryBusWidth, "memory_bus_width")
UINT(nvmlDeviceGetNumaNodeId, "numa_node")
PAIR(nvmlDeviceGetCudaComputeCapability, "cuda_major", "cuda_minor")

/* Modes and state */
UINT(nvmlDeviceGetComputeMode, "compute_mode")
UINT(nvmlDeviceGetPersistenceMode, "persistence_mode")
UINT(nvmlDeviceGetDisplayMode, "display_mode")
UINT(nvmlDeviceGetDisplayActive, "display_active")
UINT(nvmlDeviceGetPerformanceState, "pstate")
UINT(nvmlDeviceGetPowerState, "pstate")
LONG(nvmlDeviceGetCurrentClocksThrottleReasons, "event_reasons")
LONG(nvmlDeviceGetCurrentClocksEventReasons, "event_reasons")
LONG(nvmlDeviceGetSupportedClocksThrottleReasons, "event_reasons_supported")
LONG(nvmlDeviceGetSupportedClocksEventReasons, "event_reasons_supported")

PAIR(nvmlDeviceGetDriverModel, "driver_model", "driver_model") /* Windows alone has one */
PAIR(nvmlDeviceGetDriverModel_v2, "driver_model", "driver_model")

/* Power, mW and mJ */
UINT(nvmlDeviceGetPowerManagementMode, "power_management")
UINT(nvmlDeviceGetPowerUsage, "power_mw")
UINT(nvmlDeviceGetPowerManagementLimit, "power_limit_mw")
UINT(nvmlDeviceGetEnforcedPowerLimit, "power_limit_mw")
UINT(nvmlDeviceGetPowerManagementDefaultLimit, "power_limit_default_mw")
PAIR(nvmlDeviceGetPowerManagementLimitConstraints, "power_limit_min_mw", "power_limit_max_mw")
LONG(nvmlDeviceGetTotalEnergyConsumption, "energy_mj")

/* Fans, PCIe, encoder and decoder */
UINT(nvmlDeviceGetFanSpeed, "fan_percent")
UINT(nvmlDeviceGetNumFans, "fans")
UINT(nvmlDeviceGetCurrPcieLinkGeneration, "pcie_generation")
UINT(nvmlDeviceGetMaxPcieLinkGeneration, "pcie_generation_max")
UINT(nvmlDeviceGetGpuMaxPcieLinkGeneration, "pcie_generation_max")
UINT(nvmlDeviceGetCurrPcieLinkWidth, "pcie_width")
UINT(nvmlDeviceGetMaxPcieLinkWidth, "pcie_width_max")
UINT(nvmlDeviceGetPcieReplayCounter, "pcie_replays")
PAIR(nvmlDeviceGetEncoderUtilization, "encoder_utilisation", "sampling_us")
PAIR(nvmlDeviceGetDecoderUtilization, "decoder_utilisation", "sampling_us")
PAIR(nvmlDeviceGetJpgUtilization, "jpeg_utilisation", "sampling_us")
PAIR(nvmlDeviceGetOfaUtilization, "ofa_utilisation", "sampling_us")

/* Memory errors */
UINT(nvmlDeviceGetRetiredPagesPendingStatus, "retired_pages_pending")
PAIR(nvmlDeviceGetEccMode, "ecc", "ecc_pending")
UINT(nvmlDeviceGetDefaultEccMode, "ecc_default")

NVML int nvmlDeviceGetFanSpeed_v2(handle asked, unsigned fan, unsigned *out) {
    ENTER(asked);
    return fan < number_or(look.it, "fans", 0) ? small(look.it, "fan_percent", out) : INVALID_ARGUMENT;
}

NVML int nvmlDeviceGetPcieThroughput(handle asked, unsigned counter, unsigned *out) {
    ENTER(asked);
    return small(look.it, counter == 0 ? "pcie_tx_kib" : "pcie_rx_kib", out);
}

NVML int nvmlDeviceGetTemperature(handle asked, unsigned sensor, unsigned *out) {
    ENTER(asked);
    return sensor == 0 ? small(look.it, "temperature", out) : INVALID_ARGUMENT;
}

struct temperature {
    unsigned version, sensor;
    int degrees;
};

NVML int nvmlDeviceGetTemperatureV(handle asked, struct temperature *out) {
    ENTER(asked);
    if (!out || out->sensor != 0)
        return INVALID_ARGUMENT;
    if (out->version != (1 << 24 | sizeof *out))
        return ARGUMENT_VERSION_MISMATCH;
    return small(look.it, "temperature", (unsigned *)&out->degrees);
}

NVML int nvmlDeviceGetTemperatureThreshold(handle asked, unsigned threshold, unsigned *out) {
    static const char *const keys[] = {"temperature_shutdown", "temperature_slowdown", "temperature_memory_max",
                                       "temperature_max"};
    ENTER(asked);
    return threshold < 4 ? small(look.it, keys[threshold], out) : NOT_SUPPORTED;
}

struct utilisation {
    unsigned gpu, memory;
};

NVML int nvmlDeviceGetUtilizationRates(handle asked, struct utilisation *out) {
    ENTER(asked);
    int error = small(look.it, "utilisation", out ? &out->gpu : NULL);
    return error ? error : small(look.it, "memory_utilisation", &out->memory);
}

/* Clocks, MHz: graphics, SM, memory, video */

static int clock_of(const struct part *it, const char *what, unsigned type, unsigned *out) {
    static const char *const types[] = {"graphics", "sm", "memory", "video"};
    char key[64];
    if (type >= 4)
        return INVALID_ARGUMENT;
    snprintf(key, sizeof key, "clock_%s%s_mhz", what, types[type]);
    return small(it, key, out);
}

NVML int nvmlDeviceGetClockInfo(handle asked, unsigned type, unsigned *out) {
    ENTER(asked);
    return clock_of(look.it, "", type, out);
}

NVML int nvmlDeviceGetMaxClockInfo(handle asked, unsigned type, unsigned *out) {
    ENTER(asked);
    return clock_of(look.it, "max_", type, out);
}

NVML int nvmlDeviceGetApplicationsClock(handle asked, unsigned type, unsigned *out) {
    ENTER(asked);
    return clock_of(look.it, "max_", type, out);
}

NVML int nvmlDeviceGetDefaultApplicationsClock(handle asked, unsigned type, unsigned *out) {
    ENTER(asked);
    return clock_of(look.it, "max_", type, out);
}

NVML int nvmlDeviceGetClock(handle asked, unsigned type, unsigned id, unsigned *out) {
    ENTER(asked);
    return clock_of(look.it, id == 0 ? "" : "max_", type, out);
}

static int one_clock(const struct part *it, const char *key, unsigned *count, unsigned *out) {
    unsigned clock, room = count ? *count : 0;
    int error = count ? small(it, key, &clock) : INVALID_ARGUMENT;
    if (error)
        return error;
    *count = 1;
    if (!out || !room)
        return INSUFFICIENT_SIZE;
    *out = clock;
    return SUCCESS;
}

NVML int nvmlDeviceGetSupportedMemoryClocks(handle asked, unsigned *count, unsigned *out) {
    ENTER(asked);
    return one_clock(look.it, "clock_max_memory_mhz", count, out);
}

NVML int nvmlDeviceGetSupportedGraphicsClocks(handle asked, unsigned memory, unsigned *count, unsigned *out) {
    ENTER(asked);
    (void)memory;
    return one_clock(look.it, "clock_max_graphics_mhz", count, out);
}

/* Memory. Version 1 counts what the driver reserves as used, version 2 tells it apart. */

struct memory {
    u64 total, free, used;
};

struct memory_v2 {
    unsigned version;
    u64 total, reserved, free, used;
};

static int memory_of(const struct part *it, struct memory_v2 *out) {
    u64 total, used;
    int error = number(it, "memory_mib", &total);
    if (error || (error = number(it, "memory_used_mib", &used)))
        return error;
    u64 reserved = number_or(it, "memory_reserved_mib", 0);
    out->total = MIB(total);
    out->reserved = MIB(reserved);
    out->used = MIB(used);
    out->free = used + reserved < total ? MIB(total - used - reserved) : 0;
    return SUCCESS;
}

NVML int nvmlDeviceGetMemoryInfo(handle asked, struct memory *out) {
    ENTER(asked);
    struct memory_v2 whole;
    int error = out ? memory_of(look.it, &whole) : INVALID_ARGUMENT;
    if (!error)
        *out = (struct memory){whole.total, whole.free, whole.total - whole.free};
    return error;
}

NVML int nvmlDeviceGetMemoryInfo_v2(handle asked, struct memory_v2 *out) {
    ENTER(asked);
    if (!out)
        return INVALID_ARGUMENT;
    if (out->version != (2 << 24 | sizeof *out))
        return ARGUMENT_VERSION_MISMATCH;
    return memory_of(look.it, out);
}

NVML int nvmlDeviceGetBAR1MemoryInfo(handle asked, struct memory *out) { /* here: total, free, used, too */
    ENTER(asked);
    u64 total;
    int error = out ? number(look.it, "bar1_mib", &total) : INVALID_ARGUMENT;
    if (error)
        return error;
    u64 used = number_or(look.it, "bar1_used_mib", 1);
    *out = (struct memory){MIB(total), MIB(total - used), MIB(used)};
    return SUCCESS;
}

/* Memory errors: kind 0 corrected, 1 uncorrected; since 0 the driver was loaded, 1 ever */

static int errors_of(const struct part *it, unsigned kind, unsigned since, u64 *out) {
    char key[64];
    if (kind > 1 || since > 1)
        return INVALID_ARGUMENT;
    if (number_or(it, "ecc", 0) == 0)
        return NOT_SUPPORTED;
    snprintf(key, sizeof key, "ecc_%s_%s", kind ? "uncorrected" : "corrected", since ? "aggregate" : "volatile");
    return number(it, key, out);
}

NVML int nvmlDeviceGetTotalEccErrors(handle asked, unsigned kind, unsigned since, u64 *out) {
    ENTER(asked);
    return errors_of(look.it, kind, since, out);
}

NVML int nvmlDeviceGetMemoryErrorCounter(handle asked, unsigned kind, unsigned since, unsigned where, u64 *out) {
    enum { DRAM = 2 };
    ENTER(asked);
    int error = errors_of(look.it, kind, since, out);
    if (!error && where != DRAM)
        *out = 0;
    return error;
}

static int retired_pages(handle asked, const char *call, unsigned cause, unsigned *count, u64 *pages, u64 *times) {
    if (!asked || !count || cause > 1)
        return INVALID_ARGUMENT;
    LOOK(call, asked);
    u64 retired;
    int error = number(look.it, cause ? "retired_pages_double" : "retired_pages_single", &retired);
    if (error)
        return error;
    unsigned room = *count;
    *count = (unsigned)retired;
    if (room < retired || (!pages && retired))
        return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < retired; i++) {
        pages[i] = MIB(1 + i);
        if (times)
            times[i] = 1700000000ull * 1000000;
    }
    return SUCCESS;
}

NVML int nvmlDeviceGetRetiredPages(handle asked, unsigned cause, unsigned *count, u64 *pages) {
    return retired_pages(asked, __func__, cause, count, pages, NULL);
}
NVML int nvmlDeviceGetRetiredPages_v2(handle asked, unsigned cause, unsigned *count, u64 *pages, u64 *times) {
    return retired_pages(asked, __func__, cause, count, pages, times);
}

NVML int nvmlDeviceGetRemappedRows(handle asked, unsigned *corrected, unsigned *uncorrected, unsigned *pending,
                                   unsigned *failed) {
    ENTER(asked);
    int error = small(look.it, "remapped_rows_corrected", corrected);
    if (!error)
        error = small(look.it, "remapped_rows_uncorrected", uncorrected);
    if (!error)
        error = small(look.it, "remapping_pending", pending);
    return error ? error : small(look.it, "remapping_failed", failed);
}

/* A MIG slice's share */

struct attributes {
    unsigned multiprocessors, copy_engines, decoders, encoders, jpegs, ofas, gpu_slices, compute_slices;
    u64 memory_mib;
};

NVML int nvmlDeviceGetAttributes_v2(handle asked, struct attributes *out) {
    ENTER(asked);
    if (!out)
        return INVALID_ARGUMENT;
    memset(out, 0, sizeof *out);
    int error = small(look.it, "gpu_slices", &out->gpu_slices);
    if (error)
        return error;
    out->compute_slices = (unsigned)number_or(look.it, "compute_slices", out->gpu_slices);
    out->multiprocessors = (unsigned)number_or(look.it, "multiprocessors", 14 * out->gpu_slices);
    out->copy_engines = out->decoders = out->gpu_slices;
    return number(look.it, "memory_mib", &out->memory_mib);
}
NVML int nvmlDeviceGetAttributes(handle asked, struct attributes *out) {
    return nvmlDeviceGetAttributes_v2(asked, out);
}

/* Field values: `field.230 = 1`, or `field.138.3 = 42` for scope (NVLink) 3 */

struct field {
    unsigned id, scope;
    long long timestamp, latency_us;
    unsigned type;
    int error;
    union {
        double as_double;
        unsigned as_uint;
        u64 as_u64;
    } value;
};

NVML int nvmlDeviceGetFieldValues(handle asked, int count, struct field *fields) {
    enum { TYPE_UINT = 1, TYPE_U64 = 3 };
    ENTER(asked);
    for (int i = 0; i < count; i++) {
        char key[64];
        u64 value;
        snprintf(key, sizeof key, "field.%u.%u", fields[i].id, fields[i].scope);
        if (!value_of(look.it, key))
            snprintf(key, sizeof key, "field.%u", fields[i].id);
        fields[i].error = number(look.it, key, &value);
        if (fields[i].error)
            continue;
        fields[i].type = value >> 32 ? TYPE_U64 : TYPE_UINT;
        fields[i].value.as_u64 = value;
    }
    return SUCCESS;
}

/* The driver */

NVML int nvmlSystemGetDriverVersion(char *out, unsigned size) {
    ENTER_DRIVER();
    return text(look.driver, "version", out, size);
}

NVML int nvmlSystemGetNVMLVersion(char *out, unsigned size) {
    ENTER_DRIVER();
    return text(look.driver, "nvml_version", out, size);
}

NVML int nvmlSystemGetCudaDriverVersion(int *out) {
    ENTER_DRIVER();
    return small(look.driver, "cuda_version", (unsigned *)out);
}
NVML int nvmlSystemGetCudaDriverVersion_v2(int *out) { return nvmlSystemGetCudaDriverVersion(out); }

NVML const char *nvmlErrorString(int error) {
    static const char *const words[] = {
        "Success", "Uninitialized", "Invalid Argument", "Not Supported", "Insufficient Permissions",
        "Already Initialized", "Not Found", "Insufficient Size", "Insufficient External Power", "Driver Not Loaded",
        "Timeout", "Interrupt Request Issue", "NVML Shared Library Not Found", "Function Not Found",
        "Corrupted infoROM", "GPU is lost", "GPU requires reset", "Operating System call failed",
        "Driver/library version mismatch", "In use by another client", "Insufficient Memory", "No data",
    };
    return error >= 0 && error < (int)(sizeof words / sizeof *words) ? words[error] : "Unknown Error";
}
