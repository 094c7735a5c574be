/* Preloaded into a program, makes one of its calls on files below FAULT_BELOW fail.
 *
 * FAULT_CALL   which call: open, write, read, sync, rename, link, mkdir, unlink, copy, or change (all
 *              that change something)
 * FAULT_ERRNO  the error, by number; 0: a write takes only half of what it is given
 * FAULT_AT     fail the call of this number, counted from 1 in each process; 0: all of them
 * FAULT_HITS   a file that gets a byte for each call that failed
 * FAULT_CLOCK  seconds that the clock is ahead
 * FAULT_DISK   a file that gets a line for each thing that matters when the power fails: `sync TIME DEVICE INODE`,
 *              `sync TIME 0 0` of a whole file system, and `name TIME PATH` of a name that was given
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static atomic_long calls;

/* Says whether this call is to fail, and sets errno. */
static int fails(const char *call, int changes, const char *path) {
    const char *wanted = getenv("FAULT_CALL"), *below = getenv("FAULT_BELOW");
    if (!wanted || !below || !path || !strstr(path, below)) return 0;
    if (strcmp(wanted, call) && !(changes && !strcmp(wanted, "change"))) return 0;
    const char *at = getenv("FAULT_AT"), *error = getenv("FAULT_ERRNO"), *hits = getenv("FAULT_HITS");
    long number = atomic_fetch_add(&calls, 1) + 1;
    if (at && atol(at) && atol(at) != number) return 0;
    if (hits) {
        long fd = syscall(SYS_openat, AT_FDCWD, hits, O_WRONLY | O_CREAT | O_APPEND, 0644);
        if (fd >= 0) {
            syscall(SYS_write, fd, "x", 1);
            syscall(SYS_close, fd);
        }
    }
    errno = error ? atoi(error) : EIO;
    return 1;
}

static int fails_fd(const char *call, int changes, int fd) {
    char link[64], path[4096];
    if (!getenv("FAULT_CALL")) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(call, changes, path);
}

static long long now(void) {
    struct timespec time;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static void note(const char *line, int length) {
    const char *disk = getenv("FAULT_DISK");
    long fd = disk ? syscall(SYS_openat, AT_FDCWD, disk, O_WRONLY | O_CREAT | O_APPEND, 0644) : -1;
    if (fd < 0) return;
    syscall(SYS_write, fd, line, length);
    syscall(SYS_close, fd);
}

/* Passes a result on, and notes that a name is there. */
static int named(int result, const char *path) {
    const char *below = getenv("FAULT_BELOW");
    int error = errno;
    char line[4200];
    if (result >= 0 && below && strstr(path, below) && getenv("FAULT_DISK"))
        note(line, snprintf(line, sizeof line, "name %lld %s\n", now(), path));
    errno = error;
    return result;
}

/* Passes a result on, and notes that what was there at `begin` is on the disk. */
static int synced(int result, int fd, int whole, long long begin) {
    struct stat about = {0};
    int error = errno;
    char line[128];
    if (result == 0 && getenv("FAULT_DISK") && (whole || fstat(fd, &about) == 0))
        note(line, snprintf(line, sizeof line, "sync %lld %lld %lld\n", begin, (long long)about.st_dev,
                            (long long)about.st_ino));
    errno = error;
    return result;
}

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC); }

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...) {                                                   \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;                  \
        va_end(rest);                                                                              \
        if (fails("open", writes(flags), path)) return -1;                                         \
        int fd = NEXT(name)(path, flags, mode);                                                    \
        return flags & O_CREAT ? named(fd, path) : fd;                                             \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *bytes, size_t count) {
    if (fails_fd("write", 1, fd)) {
        if (errno) return -1;
        count = count > 1 ? count / 2 : count;
    }
    return NEXT(write)(fd, bytes, count);
}
ssize_t read(int fd, void *bytes, size_t count) {
    return fails_fd("read", 0, fd) ? -1 : NEXT(read)(fd, bytes, count);
}
#define SYNC(name, whole)                                                                          \
    int name(int fd) {                                                                             \
        long long begin = now();                                                                   \
        return fails_fd("sync", 0, fd) ? -1 : synced(NEXT(name)(fd), fd, whole, begin);            \
    }
SYNC(fsync, 0)
SYNC(fdatasync, 0)
SYNC(syncfs, 1)
int rename(const char *from, const char *to) {
    return fails("rename", 1, to) ? -1 : named(NEXT(rename)(from, to), to);
}
int link(const char *from, const char *to) {
    return fails("link", 1, to) ? -1 : named(NEXT(link)(from, to), to);
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    return fails("link", 1, to) ? -1 : named(NEXT(linkat)(a, from, b, to, flags), to);
}
int symlink(const char *target, const char *path) {
    return fails("symlink", 1, path) ? -1 : named(NEXT(symlink)(target, path), path);
}
int mkdir(const char *path, mode_t mode) {
    return fails("mkdir", 1, path) ? -1 : named(NEXT(mkdir)(path, mode), path);
}
int unlink(const char *path) { return fails("unlink", 1, path) ? -1 : NEXT(unlink)(path); }
int rmdir(const char *path) { return fails("unlink", 1, path) ? -1 : NEXT(rmdir)(path); }
int chmod(const char *path, mode_t mode) {
    return fails("chmod", 1, path) ? -1 : NEXT(chmod)(path, mode);
}
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t count, unsigned flags) {
    return fails_fd("copy", 1, to) ? -1 : NEXT(copy_file_range)(from, a, to, b, count, flags);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    long result = syscall(SYS_clock_gettime, clock, time);
    const char *ahead = getenv("FAULT_CLOCK");
    if (result == 0 && clock == CLOCK_REALTIME && ahead) time->tv_sec += atol(ahead);
    return (int)result;
}
