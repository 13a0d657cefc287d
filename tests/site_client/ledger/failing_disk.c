/* Preloaded into a process: the k-th call that changes a file below one folder fails, or kills the process.
   Counted: write, pwrite, fsync, fdatasync, ftruncate, link, rename, unlink. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[4096];
static long at = -1, calls = 0;
static int error_number = 0, is_short = 0, for_good = 0;

void fault_arm(const char *where, long number, const char *kind, int stays) {
  snprintf(folder, sizeof folder, "%s/", where);
  at = number; calls = 0; for_good = stays;
  is_short = !strcmp(kind, "SHORT");
  error_number = !strcmp(kind, "KILL") ? 0 : !strcmp(kind, "EIO") ? EIO : ENOSPC;
}

long fault_calls(void) { return calls; }

static int strikes(const char *path) {
  if (at < 0 || strncmp(path, folder, strlen(folder))) return 0;
  calls++;
  if (calls != at && !(for_good && calls > at)) return 0;
  if (!error_number) kill(getpid(), SIGKILL);
  return 1;
}

static int strikes_fd(int fd) {
  char link[64], path[4096];
  if (at < 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strikes(path);
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define FAIL(condition) if (condition) { errno = error_number; return -1; }

ssize_t write(int fd, const void *data, size_t size) {
  REAL(write);
  if (strikes_fd(fd)) { if (is_short && size > 1) return real(fd, data, size / 2); errno = error_number; return -1; }
  return real(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
  REAL(pwrite);
  if (strikes_fd(fd)) { if (is_short) real(fd, data, size / 2, offset); errno = error_number; return -1; }
  return real(fd, data, size, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
  REAL(pwrite64);
  if (strikes_fd(fd)) { if (is_short) real(fd, data, size / 2, offset); errno = error_number; return -1; }
  return real(fd, data, size, offset);
}
int fsync(int fd) { REAL(fsync); FAIL(strikes_fd(fd)) return real(fd); }
int fdatasync(int fd) { REAL(fdatasync); FAIL(strikes_fd(fd)) return real(fd); }
int ftruncate(int fd, off_t size) { REAL(ftruncate); FAIL(strikes_fd(fd)) return real(fd, size); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); FAIL(strikes_fd(fd)) return real(fd, size); }
int link(const char *from, const char *to) { REAL(link); FAIL(strikes(to)) return real(from, to); }
int rename(const char *from, const char *to) { REAL(rename); FAIL(strikes(to)) return real(from, to); }
int unlink(const char *path) { REAL(unlink); FAIL(strikes(path)) return real(path); }
