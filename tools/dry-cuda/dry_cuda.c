/* A CUDA driver that computes nothing and counts everything.
 *
 * Built as libcuda.so.1 and put before the real one, it lets a program that compiles its kernels with NVRTC
 * run its whole host side on a machine without a GPU: kernels are compiled for the compute capability asked
 * for, loaded, launched with their arguments and grids, and leave memory as it was. "Device" memory is main
 * memory, zeroed. What is reported at the end (standard error, or the file DRY_CUDA_LOG) are facts of the
 * host side: launches, bytes copied each way, synchronisations, most memory held, modules loaded.
 *
 *   DRY_CUDA_CC=90        compute capability (default 90)
 *   DRY_CUDA_LOG=FILE     JSON at exit, in place of standard error
 *   DRY_CUDA_TRACE=1      a line on standard error for each copy to the host and each wait; with 2 also for each
 *                         launch and each copy to the device, in their order
 *   DRY_CUDA_DUMP=DIR     every module's PTX, for ptxas
 *   DRY_CUDA_DEVICES=N    how many devices there are (default 1)
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdatomic.h>
#include <pthread.h>
#include <time.h>

typedef int CUresult;
typedef int CUdevice;
typedef uint64_t CUdeviceptr;
typedef void *P;
#define OK 0
#define EXPORT __attribute__((visibility("default")))

static atomic_llong launches, modules, h2d, h2d_bytes, d2h, d2h_bytes, d2d, memsets, syncs, event_syncs, allocs, frees, held, most, pinned, unknown_attr;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local P current;
static int started;

/* launches by kernel name */
#define NAMES 65536
static struct { char *name; long long n; } by_name[NAMES];
static int names;
struct function { int slot; };

static int env(const char *name, int otherwise) { const char *v = getenv(name); return v ? atoi(v) : otherwise; }
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
static int traces(void) { static int level = -1; if (level < 0) level = env("DRY_CUDA_TRACE", 0); return level; }
static void trace(const char *what, long long n) {
    if (traces()) fprintf(stderr, "dry-cuda %.6f %s %lld: launches %lld, host to device %lld (%lld bytes), synchronisations %lld + %lld, allocations %lld, held %lld\n",
        now(), what, n, (long long)launches, (long long)h2d, (long long)h2d_bytes, (long long)syncs, (long long)event_syncs, (long long)allocs, (long long)held);
}
static void copied(long long bytes) { if (traces() > 1) fprintf(stderr, "dry-cuda %lld bytes to the device\n", bytes); }

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("DRY_CUDA_LOG");
    if (!started) return;
    FILE *out = path ? fopen(path, "w") : stderr;
    if (!out) return;
    fprintf(out, "{\"launches\": %lld, \"modules\": %lld, \"host_to_device\": %lld, \"host_to_device_bytes\": %lld, \"device_to_host\": %lld, "
        "\"device_to_host_bytes\": %lld, \"device_to_device\": %lld, \"memsets\": %lld, \"stream_synchronisations\": %lld, \"event_synchronisations\": %lld, "
        "\"allocations\": %lld, \"frees\": %lld, \"held_bytes\": %lld, \"most_bytes\": %lld, \"kernels\": {",
        (long long)launches, (long long)modules, (long long)h2d, (long long)h2d_bytes, (long long)d2h, (long long)d2h_bytes, (long long)d2d,
        (long long)memsets, (long long)syncs, (long long)event_syncs, (long long)allocs, (long long)frees, (long long)held, (long long)most);
    for (int i = 0; i < names; i++) fprintf(out, "%s\"%s\": %lld", i ? ", " : "", by_name[i].name, by_name[i].n);
    fprintf(out, "}}\n");
    if (path) fclose(out);
}

EXPORT CUresult cuInit(unsigned f) { started = 1; return OK; }
EXPORT CUresult cuDriverGetVersion(int *v) { *v = env("DRY_CUDA_VERSION", 13000); return OK; }
EXPORT CUresult cuDeviceGetCount(int *n) { *n = env("DRY_CUDA_DEVICES", 1); return OK; }
EXPORT CUresult cuDeviceGet(CUdevice *d, int i) { if (i >= env("DRY_CUDA_DEVICES", 1)) return 101; *d = i; return OK; }
EXPORT CUresult cuDeviceGetName(char *s, int n, CUdevice d) { snprintf(s, n, "dry GPU %d", d); return OK; }
EXPORT CUresult cuDeviceTotalMem_v2(size_t *b, CUdevice d) { *b = (size_t)env("DRY_CUDA_GIB", 140) << 30; return OK; }
EXPORT CUresult cuDeviceGetUuid(char *u, CUdevice d) { memset(u, d, 16); return OK; }
EXPORT CUresult cuDeviceGetUuid_v2(char *u, CUdevice d) { return cuDeviceGetUuid(u, d); }
EXPORT CUresult cuDeviceGetAttribute(int *v, int a, CUdevice d) {
    int cc = env("DRY_CUDA_CC", 90);
    switch (a) {
        case 1: *v = 1024; break;               /* threads per block */
        case 2: case 3: *v = 1024; break;       /* block x, y */
        case 4: *v = 64; break;                 /* block z */
        case 5: *v = 2147483647; break;         /* grid x */
        case 6: case 7: *v = 65535; break;      /* grid y, z */
        case 8: *v = 49152; break;              /* shared memory per block */
        case 10: *v = 32; break;                /* warp */
        case 12: *v = 65536; break;             /* registers per block */
        case 13: *v = 1980000; break;           /* clock, kHz */
        case 16: *v = 132; break;               /* multiprocessors */
        case 39: *v = 2048; break;              /* threads per multiprocessor */
        case 75: *v = cc / 10; break;
        case 76: *v = cc % 10; break;
        case 81: *v = 233472; break;            /* shared memory per multiprocessor */
        case 97: *v = 232448; break;            /* shared memory per block, opt in */
        case 41: case 115: case 83: *v = 1; break; /* unified addressing, memory pools, ... */
        default: unknown_attr++; *v = 1;
    }
    return OK;
}
EXPORT CUresult cuDevicePrimaryCtxRetain(P *c, CUdevice d) { *c = (P)(uintptr_t)(d + 1); return OK; }
EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice d) { return OK; }
EXPORT CUresult cuCtxSetCurrent(P c) { current = c; return OK; }
EXPORT CUresult cuCtxGetCurrent(P *c) { *c = current; return OK; }
EXPORT CUresult cuCtxGetDevice(CUdevice *d) { *d = current ? (int)(uintptr_t)current - 1 : 0; return OK; }
EXPORT CUresult cuCtxSynchronize(void) { syncs++; trace("context-sync", 0); return OK; }
EXPORT CUresult cuCtxPushCurrent_v2(P c) { current = c; return OK; }
EXPORT CUresult cuCtxPopCurrent_v2(P *c) { if (c) *c = current; return OK; }

/* memory: a header before what is given, as big as a page so that alignment holds */
#define HEAD 4096
static void grew(long long n) { long long h = atomic_fetch_add(&held, n) + n, m = most; while (h > m && !atomic_compare_exchange_weak(&most, &m, h)); }
static CUresult get(CUdeviceptr *p, size_t n) {
    char *m; if (posix_memalign((void **)&m, 4096, n + HEAD)) return 2;
    memset(m, 0, n + HEAD); *(size_t *)m = n; *p = (CUdeviceptr)(uintptr_t)(m + HEAD); allocs++; grew(n); return OK;
}
static CUresult put(CUdeviceptr p) { if (!p) return OK; char *m = (char *)(uintptr_t)p - HEAD; grew(-(long long)*(size_t *)m); frees++; free(m); return OK; }
EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *p, size_t n) { return get(p, n); }
EXPORT CUresult cuMemAllocAsync(CUdeviceptr *p, size_t n, P s) { return get(p, n); }
EXPORT CUresult cuMemFree_v2(CUdeviceptr p) { return put(p); }
EXPORT CUresult cuMemFreeAsync(CUdeviceptr p, P s) { return put(p); }
EXPORT CUresult cuMemAllocHost_v2(P *p, size_t n) { pinned += n; return posix_memalign(p, 4096, n) ? 2 : OK; }
EXPORT CUresult cuMemHostAlloc(P *p, size_t n, unsigned f) { return cuMemAllocHost_v2(p, n); }
EXPORT CUresult cuMemFreeHost(P p) { free(p); return OK; }
EXPORT CUresult cuMemGetInfo_v2(size_t *f, size_t *t) { *t = (size_t)env("DRY_CUDA_GIB", 140) << 30; *f = *t - held; return OK; }
EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr d, const void *s, size_t n, P st) { memcpy((P)(uintptr_t)d, s, n); h2d++; h2d_bytes += n; copied(n); return OK; }
EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr d, const void *s, size_t n) { return cuMemcpyHtoDAsync_v2(d, s, n, 0); }
EXPORT CUresult cuMemcpyDtoHAsync_v2(P d, CUdeviceptr s, size_t n, P st) { memcpy(d, (P)(uintptr_t)s, n); d2h++; d2h_bytes += n; trace("device-to-host", n); return OK; }
EXPORT CUresult cuMemcpyDtoH_v2(P d, CUdeviceptr s, size_t n) { return cuMemcpyDtoHAsync_v2(d, s, n, 0); }
EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr d, CUdeviceptr s, size_t n, P st) { memmove((P)(uintptr_t)d, (P)(uintptr_t)s, n); d2d++; return OK; }
EXPORT CUresult cuMemcpyPeerAsync(CUdeviceptr d, P dc, CUdeviceptr s, P sc, size_t n, P st) { return cuMemcpyDtoDAsync_v2(d, s, n, st); }
EXPORT CUresult cuMemsetD8Async(CUdeviceptr d, unsigned char v, size_t n, P st) { memset((P)(uintptr_t)d, v, n); memsets++; return OK; }
EXPORT CUresult cuMemsetD8_v2(CUdeviceptr d, unsigned char v, size_t n) { return cuMemsetD8Async(d, v, n, 0); }
struct copy2d { size_t srcX, srcY; int srcKind; const void *srcHost; CUdeviceptr srcDevice; P srcArray; size_t srcPitch;
    size_t dstX, dstY; int dstKind; void *dstHost; CUdeviceptr dstDevice; P dstArray; size_t dstPitch; size_t width, height; };
EXPORT CUresult cuMemcpy2DAsync_v2(const struct copy2d *c, P st) {
    const char *s = c->srcKind == 1 ? c->srcHost : (P)(uintptr_t)c->srcDevice; char *d = c->dstKind == 1 ? c->dstHost : (P)(uintptr_t)c->dstDevice;
    for (size_t y = 0; y < c->height; y++) memcpy(d + (c->dstY + y) * c->dstPitch + c->dstX, s + (c->srcY + y) * c->srcPitch + c->srcX, c->width);
    if (c->dstKind == 1) { d2h++; d2h_bytes += c->width * c->height; trace("device-to-host-2d", c->width * c->height); }
    else if (c->srcKind == 1) { h2d++; h2d_bytes += c->width * c->height; copied(c->width * c->height); } else d2d++;
    return OK;
}

EXPORT CUresult cuModuleLoadData(P *m, const void *image) {
    static atomic_int number; modules++; *m = (P)strdup("module");
    const char *dir = getenv("DRY_CUDA_DUMP");
    if (dir) { char path[4096]; const char *text = image; int ptx = !strncmp(text, "//", 2) || strstr(text, ".version") != NULL;
        snprintf(path, sizeof path, "%s/%05d.%s", dir, number++, ptx ? "ptx" : "bin"); FILE *f = fopen(path, "w"); if (f) { if (ptx) fputs(text, f); fclose(f); } }
    return OK;
}
EXPORT CUresult cuModuleLoadDataEx(P *m, const void *image, unsigned n, P o, P v) { return cuModuleLoadData(m, image); }
EXPORT CUresult cuModuleUnload(P m) { return OK; }
EXPORT CUresult cuModuleGetFunction(P *f, P m, const char *name) {
    pthread_mutex_lock(&lock); int i = 0; while (i < names && strcmp(by_name[i].name, name)) i++;
    if (i == names && names < NAMES) { by_name[names++].name = strdup(name); }
    pthread_mutex_unlock(&lock);
    struct function *r = malloc(sizeof *r); r->slot = i; *f = r; return OK;
}
EXPORT CUresult cuModuleGetGlobal_v2(CUdeviceptr *p, size_t *n, P m, const char *name) { return 500; }
EXPORT CUresult cuFuncSetAttribute(P f, int a, int v) { return OK; }
EXPORT CUresult cuFuncGetAttribute(int *v, int a, P f) { *v = 0; return OK; }
EXPORT CUresult cuFuncSetCacheConfig(P f, int c) { return OK; }
EXPORT CUresult cuLaunchKernel(P f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, P st, P *args, P *extra) {
    if (!gx || !gy || !gz || !bx || !by || !bz || bx * by * bz > 1024 || shared > 232448 || gy > 65535 || gz > 65535) {
        fprintf(stderr, "dry-cuda: launch of %s refused: grid %u %u %u block %u %u %u shared %u\n", by_name[((struct function *)f)->slot].name, gx, gy, gz, bx, by, bz, shared); return 1; }
    launches++; by_name[((struct function *)f)->slot].n++;
    if (traces() > 1) fprintf(stderr, "dry-cuda %s grid %u %u %u block %u %u %u\n", by_name[((struct function *)f)->slot].name, gx, gy, gz, bx, by, bz);
    return OK;
}
EXPORT CUresult cuLaunchKernelEx(P config, P f, P *args, P *extra) { launches++; by_name[((struct function *)f)->slot].n++; return OK; }
EXPORT CUresult cuTensorMapEncodeTiled(P m) { memset(m, 0, 128); return OK; }
EXPORT CUresult cuTensorMapEncodeIm2col(P m) { memset(m, 0, 128); return OK; }
EXPORT CUresult cuTensorMapEncodeIm2colWide(P m) { memset(m, 0, 128); return OK; }

EXPORT CUresult cuStreamCreate(P *s, unsigned f) { *s = malloc(1); return OK; }
EXPORT CUresult cuStreamCreateWithPriority(P *s, unsigned f, int p) { return cuStreamCreate(s, f); }
EXPORT CUresult cuStreamDestroy_v2(P s) { return OK; }
EXPORT CUresult cuStreamSynchronize(P s) { syncs++; trace("stream-sync", 0); return OK; }
EXPORT CUresult cuStreamWaitEvent(P s, P e, unsigned f) { return OK; }
EXPORT CUresult cuStreamQuery(P s) { return OK; }
EXPORT CUresult cuEventCreate(P *e, unsigned f) { *e = malloc(1); return OK; }
EXPORT CUresult cuEventDestroy_v2(P e) { free(e); return OK; }
EXPORT CUresult cuEventRecord(P e, P s) { return OK; }
EXPORT CUresult cuEventSynchronize(P e) { event_syncs++; return OK; }
EXPORT CUresult cuEventQuery(P e) { return OK; }
EXPORT CUresult cuEventElapsedTime(float *t, P a, P b) { *t = 0.01f; return OK; }
EXPORT CUresult cuEventElapsedTime_v2(float *t, P a, P b) { *t = 0.01f; return OK; }
/* NVRTC 12.9 and newer ask for a table of hooks, and crash where the function is missing. */
EXPORT CUresult cuGetExportTable(const void **table, const void *id) { *table = NULL; return 500; }
EXPORT CUresult cuGetErrorString(CUresult r, const char **s) { *s = r ? "dry error" : "no error"; return OK; }
EXPORT CUresult cuGetErrorName(CUresult r, const char **s) { *s = r ? "DRY_ERROR" : "SUCCESS"; return OK; }
EXPORT CUresult cuDeviceCanAccessPeer(int *v, CUdevice a, CUdevice b) { *v = 1; return OK; }
EXPORT CUresult cuCtxEnablePeerAccess(P c, unsigned f) { return OK; }
EXPORT CUresult cuDeviceGetDefaultMemPool(P *p, CUdevice d) { *p = (P)1; return OK; }
EXPORT CUresult cuMemPoolSetAttribute(P p, int a, P v) { return OK; }
EXPORT CUresult cuMemPoolTrimTo(P p, size_t n) { return OK; }
