/*
 * What a process does to one directory: written down, or made to fail.
 *
 * Preloaded, this stands between a program and the C library. Of each call that
 * changes a file or a name below the directory CRASHES_ROOT, or syncs it, it appends
 * a record to the file CRASHES_RECORD, once the call has succeeded. disk_fails() lets
 * such calls fail from then on, of which there are records as well. Whatever is elsewhere goes through untouched.
 *
 * A record is a header, a path and data. Paths are relative to the root, and that of
 * a descriptor is asked of the kernel, so that a file which was renamed has its new
 * name. See recording.py for the other side.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct header {
    uint8_t operation;
    uint8_t padding[3];
    uint32_t path_length;
    uint64_t offset;
    uint64_t data_length;
};

static char root[PATH_MAX];
static size_t root_length;
static int record = -1;

static char failing_operation;
static char failing_end[PATH_MAX];
static int failing_after, failing_times, failing_error;
static int is_half_written;

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("CRASHES_ROOT");
    if (name == NULL)
        return;
    strncpy(root, name, sizeof root - 1);
    root_length = strlen(root);
    name = getenv("CRASHES_RECORD");
    if (name != NULL)
        record = syscall(SYS_openat, AT_FDCWD, name,
                         O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static void note(char operation, const char *path, uint64_t offset, const void *data,
                 size_t length)
{
    struct header header = {0};
    struct iovec parts[3];
    int before = errno;

    if (path == NULL || record < 0)
        return;
    header.operation = operation;
    header.path_length = strlen(path);
    header.offset = offset;
    header.data_length = length;
    parts[0].iov_base = &header;
    parts[0].iov_len = sizeof header;
    parts[1].iov_base = (void *)path;
    parts[1].iov_len = header.path_length;
    parts[2].iov_base = (void *)data;
    parts[2].iov_len = length;
    if (syscall(SYS_writev, record, parts, 3) < 0)
        abort();
    errno = before;
}

/*
 * Let calls fail: those of an operation, 's'ync, 'w'rite, 't'runcate, 'r'ename,
 * 'u'nlink, 'c'reate or 'm'kdir, on a path that ends so; not the first few, and then
 * so many of them, or all if that is negative.
 */
void disk_fails(char operation, const char *end, int after, int times, int error)
{
    failing_operation = operation;
    strncpy(failing_end, end, sizeof failing_end - 1);
    failing_after = after;
    failing_times = times;
    failing_error = error;
    is_half_written = 0;
}

static int matches(char operation, const char *path)
{
    size_t length, end = strlen(failing_end);

    if (path == NULL || operation != failing_operation || failing_times == 0)
        return 0;
    length = strlen(path);
    return end <= length && strcmp(path + length - end, failing_end) == 0;
}

static int fails(char operation, const char *path)
{
    if (!matches(operation, path))
        return 0;
    if (failing_after > 0) {
        failing_after--;
        return 0;
    }
    if (failing_times > 0)
        failing_times--;
    note('f', path, 0, &operation, 1);
    errno = failing_error;
    return 1;
}

/* Return the part of a path below the root, or NULL if it is not below it. */
static const char *below(const char *path)
{
    if (root_length == 0 || strncmp(path, root, root_length) != 0)
        return NULL;
    if (path[root_length] == 0)
        return "";
    return path[root_length] == '/' ? path + root_length + 1 : NULL;
}

static const char *below_of(int descriptor, char *buffer)
{
    char link[64];
    ssize_t length;

    if (root_length == 0)
        return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, buffer, PATH_MAX - 1);
    if (length < 0)
        return NULL;
    buffer[length] = 0;
    return below(buffer);
}

/* Let the program say something between two records. */
void disk_note(const char *text)
{
    note('n', text, 0, "", 0);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int opened(int directory, const char *path, int flags, mode_t mode)
{
    const char *inside = directory == AT_FDCWD ? below(path) : NULL;
    int is_new = 0, descriptor;

    if (inside != NULL && (flags & O_CREAT)) {
        is_new = syscall(SYS_faccessat, directory, path, F_OK) < 0;
        if (is_new && fails('c', inside))
            return -1;
    }
    descriptor = syscall(SYS_openat, directory, path, flags, mode);
    if (descriptor >= 0 && is_new)
        note('c', inside, 0, "", 0);
    else if (descriptor >= 0 && inside != NULL && (flags & O_TRUNC))
        note('t', inside, 0, "", 0);
    return descriptor;
}

#define OPEN(name)                                                                    \
    int name(const char *path, int flags, ...)                                        \
    {                                                                                 \
        va_list arguments;                                                            \
        mode_t mode;                                                                  \
        va_start(arguments, flags);                                                   \
        mode = va_arg(arguments, mode_t);                                             \
        va_end(arguments);                                                            \
        return opened(AT_FDCWD, path, flags, mode);                                   \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                  \
    int name(int directory, const char *path, int flags, ...)                         \
    {                                                                                 \
        va_list arguments;                                                            \
        mode_t mode;                                                                  \
        va_start(arguments, flags);                                                   \
        mode = va_arg(arguments, mode_t);                                             \
        va_end(arguments);                                                            \
        return opened(directory, path, flags, mode);                                  \
    }
OPENAT(openat)
OPENAT(openat64)

static ssize_t written(int descriptor, const void *data, size_t length, off_t offset)
{
    char buffer[PATH_MAX];
    const char *inside = below_of(descriptor, buffer);
    struct stat status;
    ssize_t count;

    /* A full disk takes what it has blocks for before it says so. */
    if (failing_error == ENOSPC && failing_after == 0 && failing_times != 0 &&
        !is_half_written && length > 512 && matches('w', inside) &&
        fstat(descriptor, &status) == 0 && offset >= status.st_size) {
        is_half_written = 1;
        length /= 2;
    } else if (fails('w', inside)) {
        return -1;
    }
    if (offset < 0) {
        offset = inside == NULL ? 0 : lseek(descriptor, 0, SEEK_CUR);
        count = syscall(SYS_write, descriptor, data, length);
    } else {
        count = syscall(SYS_pwrite64, descriptor, data, length, offset);
    }
    if (count > 0)
        note('w', inside, offset, data, count);
    return count;
}

ssize_t write(int descriptor, const void *data, size_t length)
{
    return written(descriptor, data, length, -1);
}

ssize_t pwrite(int descriptor, const void *data, size_t length, off_t offset)
{
    return written(descriptor, data, length, offset);
}

ssize_t pwrite64(int descriptor, const void *data, size_t length, off_t offset)
{
    return written(descriptor, data, length, offset);
}

static int truncated(int descriptor, off_t length)
{
    char buffer[PATH_MAX];
    const char *inside = below_of(descriptor, buffer);

    if (fails('t', inside))
        return -1;
    if (syscall(SYS_ftruncate, descriptor, length) < 0)
        return -1;
    note('t', inside, length, "", 0);
    return 0;
}

int ftruncate(int descriptor, off_t length)
{
    return truncated(descriptor, length);
}

int ftruncate64(int descriptor, off_t length)
{
    return truncated(descriptor, length);
}

static int synced(int descriptor, int number)
{
    char buffer[PATH_MAX];
    const char *inside = below_of(descriptor, buffer);

    if (fails('s', inside))
        return -1;
    if (syscall(number, descriptor) < 0)
        return -1;
    note('s', inside, 0, "", 0);
    return 0;
}

int fsync(int descriptor)
{
    return synced(descriptor, SYS_fsync);
}

int fdatasync(int descriptor)
{
    return synced(descriptor, SYS_fdatasync);
}

int rename(const char *source, const char *target)
{
    const char *inside = below(source), *name = below(target);

    if (fails('r', name))
        return -1;
    if (syscall(SYS_renameat2, AT_FDCWD, source, AT_FDCWD, target, 0) < 0)
        return -1;
    if (inside != NULL && name != NULL)
        note('r', inside, 0, name, strlen(name));
    return 0;
}

int unlink(const char *path)
{
    const char *inside = below(path);

    if (fails('u', inside))
        return -1;
    if (syscall(SYS_unlinkat, AT_FDCWD, path, 0) < 0)
        return -1;
    note('u', inside, 0, "", 0);
    return 0;
}

int mkdir(const char *path, mode_t mode)
{
    const char *inside = below(path);

    if (fails('m', inside))
        return -1;
    if (syscall(SYS_mkdirat, AT_FDCWD, path, mode) < 0)
        return -1;
    note('m', inside, 0, "", 0);
    return 0;
}

/* Nothing here could see what is written through memory: say so. */
static void *mapped(void *real, void *address, size_t length, int protection, int flags,
                    int descriptor, off_t offset)
{
    char buffer[PATH_MAX];

    if (descriptor >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE))
        note('x', below_of(descriptor, buffer), 0, "", 0);
    return ((void *(*)(void *, size_t, int, int, int, off_t))real)(
        address, length, protection, flags, descriptor, offset);
}

void *mmap(void *address, size_t length, int protection, int flags, int descriptor,
           off_t offset)
{
    return mapped(REAL(mmap), address, length, protection, flags, descriptor, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int descriptor,
             off_t offset)
{
    return mapped(REAL(mmap64), address, length, protection, flags, descriptor, offset);
}
