#include "shim/spec.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "shim/text.h"

namespace lathe::shim {
namespace {

/// Null when the file cannot be read. One byte longer than the file, and that byte is NUL.
char* read_whole(const char* path, std::size_t& size) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  struct stat found {};
  if (fd < 0 || ::fstat(fd, &found) != 0) return nullptr;
  const auto all = static_cast<std::size_t>(found.st_size);
  auto* buffer = static_cast<char*>(std::calloc(all + 1, 1));
  for (size = 0; size < all;) {
    const auto got = ::read(fd, buffer + size, all - size);
    if (got <= 0) break;
    size += static_cast<std::size_t>(got);
  }
  ::close(fd);
  return buffer;
}

bool take(Spec& spec, const char* key, const char* value) {
  const auto is = [key](const char* name) { return std::strcmp(key, name) == 0; };
  if (is("arg"))
    spec.args.push(value);
  else if (is("env"))
    spec.env.push(value);
  else if (is("bind"))
    spec.binds.push(value);
  else if (is("group"))
    spec.groups.push(value);
  else if (is("set"))
    spec.sets.push(value);
  else if (is("rlimit"))
    spec.rlimits.push(value);
  else if (is("rank"))
    spec.ranks.push(value);
  else if (is("gate"))
    spec.gate = value;
  else if (is("cwd"))
    spec.cwd = value;
  else if (is("kill"))
    spec.kill = value;
  else if (is("oom"))
    spec.oom = value;
  else if (is("pids"))
    spec.pids = value;
  else if (is("usage"))
    spec.usage = value;
  else if (is("note"))
    spec.note = value;
  else if (is("uid"))
    spec.uid = std::atoll(value);
  else if (is("gid"))
    spec.gid = std::atoll(value);
  else if (is("log_bytes"))
    spec.log_bytes = std::atoll(value);
  else if (is("limit_ms"))
    spec.limit_ms = std::atoll(value);
  else if (is("grace_ms"))
    spec.grace_ms = std::atoll(value);
  else if (is("restarts"))
    spec.restarts = std::atoll(value);
  else
    return is("version") && std::atoll(value) == kProtocol;
  return true;
}

}  // namespace

void List::push(const char* text) {
  if ((size & (size + 1)) == 0)  // full at 0, 1, 3, 7, ... entries and the closing null
    data = static_cast<const char**>(std::realloc(data, (size + 1) * 2 * sizeof *data));
  data[size++] = text;
  data[size] = nullptr;
}

bool read_spec(const char* folder, Spec& spec, const char*& error) {
  std::size_t size = 0;
  char* record = read_whole(path_in(folder, "spec").data, size);
  if (record == nullptr) {
    error = "the file \"spec\" cannot be read";
    return false;
  }
  spec.env.data = static_cast<const char**>(std::calloc(2, sizeof(char*)));  // an empty environment is one too
  for (const char* end = record + size; record < end; record += std::strlen(record) + 1) {
    char* equals = std::strchr(record, '=');
    if (equals == nullptr) break;
    *equals = '\0';
    if (std::strcmp(record, "end") == 0) {
      error = "the spec names no program";
      return spec.args.size > 0;
    }
    if (!take(spec, record, equals + 1)) {
      error =
          "the spec has a record or a version that this lathe-shim does not know: use the one built with the server";
      return false;
    }
    record = equals + 1;
  }
  error = "the file \"spec\" is cut short";
  return false;
}

}  // namespace lathe::shim
