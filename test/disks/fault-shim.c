/*
 * Loaded before the C library by the tests of this folder: fails, halves or delays calls that change what lies below
 * one directory. FAULT_ROOT: that directory. FAULT_KIND: w (a write), s (a sync of a file), d (a sync of a directory), n (a
 * rename or an unlink). FAULT_AT: which one, from 1; 0 for none. FAULT_WAY: before (it is not done), after (it is done,
 * then said to have failed), half (half of it is done), slow (it and those after it take FAULT_MS more). FAULT_TRACE: a
 * file that gets a line for each such call after the fault.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static atomic_int calls, fired;

static const char *setting(const char *name) {
  const char *value = getenv(name);
  return value == NULL ? "" : value;
}

static int below(const char *path) {
  const char *root = setting("FAULT_ROOT");
  return *root != 0 && strncmp(path, root, strlen(root)) == 0;
}

static int opened_below(int fd, char *path, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, size - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return below(path);
}

static void trace(const char *what, size_t length, const char *path) {
  int fd = open(setting("FAULT_TRACE"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return;
  dprintf(fd, "%s %zu %s\n", what, length, path);
  close(fd);
}

/* What is to happen to this call: 0 for nothing, or the first letter of FAULT_WAY. */
static int judged(char kind, const char *what, size_t length, const char *path) {
  const char *way = setting("FAULT_WAY");
  if (atomic_load(&fired) && *way != 's') trace(what, length, path);
  if (kind != *setting("FAULT_KIND")) return 0;
  int at = atoi(setting("FAULT_AT"));
  int n = atomic_fetch_add(&calls, 1) + 1;
  if (at == 0 || (*way == 's' ? n < at : n != at)) return 0;
  if (!atomic_exchange(&fired, 1)) trace("fault:", length, path);
  if (*way == 's') {
    long ms = atol(setting("FAULT_MS"));
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
    return 0;
  }
  return *way;
}

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

static ssize_t failed(void) {
  errno = EIO;
  return -1;
}

#define PWRITE(name)                                                          \
  ssize_t name(int fd, const void *bytes, size_t length, off64_t at) {        \
    char path[4096];                                                          \
    int way = opened_below(fd, path, sizeof path) ? judged('w', "write", length, path) : 0; \
    if (way == 'b') return failed();                                          \
    if (way == 'h') length /= 2;                                              \
    ssize_t done = REAL(name)(fd, bytes, length, at);                         \
    return way == 0 ? done : failed();                                        \
  }

PWRITE(pwrite)
PWRITE(pwrite64)

#define SYNC(name)                                                            \
  int name(int fd) {                                                          \
    char path[4096];                                                          \
    struct stat stats;                                                        \
    int way = 0;                                                              \
    if (opened_below(fd, path, sizeof path) && fstat(fd, &stats) == 0)        \
      way = judged(S_ISDIR(stats.st_mode) ? 'd' : 's', "sync", 0, path);         \
    if (way == 'b' || way == 'h') return (int)failed();                       \
    int done = REAL(name)(fd);                                                \
    return way == 0 ? done : (int)failed();                                   \
  }

SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(name)                                                        \
  int name(int fd, off64_t length) {                                          \
    char path[4096];                                                          \
    if (opened_below(fd, path, sizeof path)) judged('t', "truncate", (size_t)length, path);   \
    return REAL(name)(fd, length);                                            \
  }

TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

int rename(const char *from, const char *to) {
  int way = below(to) ? judged('n', "rename", 0, to) : 0;
  if (way == 'b' || way == 'h') return (int)failed();
  int done = REAL(rename)(from, to);
  return way == 0 ? done : (int)failed();
}

int unlink(const char *path) {
  int way = below(path) ? judged('n', "unlink", 0, path) : 0;
  if (way == 'b' || way == 'h') return (int)failed();
  int done = REAL(unlink)(path);
  return way == 0 ? done : (int)failed();
}
