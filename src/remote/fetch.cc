#include "remote/fetch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "remote/files.h"
#include "shim/text.h"

namespace lathe::remote {
namespace {

constexpr int kVersion = 1;

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> out;
  for (;;) {
    const auto end = text.find('\n');
    out.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return out;
    text.remove_prefix(end + 1);
  }
}

/// The server is trusted, but a mistake there must not write elsewhere on the node.
bool is_below(const std::string& path) {
  return !path.empty() && path[0] != '/' && ("/" + path + "/").find("/../") == std::string::npos;
}

bool take(Manifest& manifest, std::string_view key, std::string_view value) {
  if (key == "version") return std::atoi(std::string(value).c_str()) == kVersion;
  if (key == "beat_ms")
    manifest.beat_ms = std::atoll(std::string(value).c_str());
  else if (key == "folder" || key == "outputs")
    (key == "folder" ? manifest.folders : manifest.outputs).emplace_back(value);
  else if (key == "checkpoint")
    manifest.checkpoint = value;
  else if (key == "variable")
    manifest.environment.variables.emplace_back(value);
  else if (key == "environment") {
    const auto parts = lines_of(value);
    if (parts.size() != 2 || !parts[0].starts_with('/')) return false;
    manifest.environment.folder = parts[0];
    manifest.environment.recipe = parts[1];
  } else if (key == "link") {
    const auto parts = lines_of(value);
    if (parts.size() != 2 || !is_below(parts[0])) return false;
    manifest.links.push_back({parts[0], parts[1]});
  } else if (key == "file") {
    const auto parts = lines_of(value);
    if (parts.size() != 5 || !is_below(parts[0])) return false;
    const bool executable = parts[3].find('x') != std::string::npos;
    const bool read_only = parts[3].find('r') != std::string::npos;
    manifest.files.push_back(
        {parts[0], parts[1], std::strtoull(parts[2].c_str(), nullptr, 10), executable, read_only, parts[4]});
  } else {
    return false;
  }
  return true;
}

}  // namespace

bool read_manifest(std::string_view text, Manifest& manifest, std::string& error) {
  while (!text.empty()) {
    const auto end = text.find('\0');
    if (end == std::string_view::npos) break;
    const auto record = text.substr(0, end);
    text.remove_prefix(end + 1);
    const auto equals = record.find('=');
    if (record == "spec=") {
      manifest.spec = text;
      return true;
    }
    if (equals == std::string_view::npos || !take(manifest, record.substr(0, equals), record.substr(equals + 1))) {
      error = "the server's manifest has a record or a version that this lathe-remote does not know";
      return false;
    }
  }
  error = "the server's manifest is cut short";
  return false;
}

Answer fetch(Connection& server, const std::string& folder, const Wanted& wanted, std::string& error) {
  const auto path = folder + "/" + wanted.path;
  const int mode = (wanted.executable ? 0555 : 0444) | (wanted.read_only ? 0 : 0200);
  ::unlink(path.c_str());  // what an earlier try left, which may be read-only by now
  const int fd = make_parents(folder, wanted.path)
                     ? ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)
                     : -1;
  if (fd < 0) {
    error = because("cannot write " + path);
    return {};
  }
  Digest digest;
  const auto answer = server.request("GET", "/" + wanted.source, {}, [&](std::string_view piece) {
    digest.update(piece);
    if (shim::write_all(fd, piece.data(), piece.size())) return true;
    error = because("cannot write " + path);
    return false;
  });
  ::fchmod(fd, static_cast<mode_t>(mode));
  if (::close(fd) != 0 && error.empty()) error = because("cannot write " + path);
  if (answer.ok() && error.empty() && !wanted.sha256.empty() && digest.finish() != wanted.sha256)
    error = wanted.path + " changed on the server since the job was submitted, or did not arrive whole";
  return answer;
}

}  // namespace lathe::remote
