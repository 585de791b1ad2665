#include "remote/environment.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "remote/files.h"

namespace lathe::remote {
namespace {

constexpr const char* kPassedOn[] = {"http_proxy",  "https_proxy", "no_proxy",     "HTTP_PROXY",
                                     "HTTPS_PROXY", "NO_PROXY",    "SSL_CERT_FILE"};

}  // namespace

Environment::~Environment() {
  if (lock_ >= 0) ::close(lock_);
}

bool Environment::ready() const {
  return ::access((wanted_.folder + "/ready/python/bin/python").c_str(), X_OK) == 0;
}

Environment::Turn Environment::take_turn() {
  // In a folder that everybody may write to, nobody else has made ours.
  const auto all = wanted_.folder.substr(0, wanted_.folder.rfind('/'));
  struct stat found {};
  for (const auto& folder : {all, wanted_.folder}) {
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
      error = because("cannot make " + folder);
      return Turn::never;
    }
    if (::lstat(folder.c_str(), &found) == 0 && S_ISDIR(found.st_mode) && found.st_uid == ::geteuid()) continue;
    error = folder + " belongs to somebody else";
    return Turn::never;
  }
  lock_ = take_lock(wanted_.folder + "/lock", O_CREAT);
  if (lock_ >= 0) return Turn::ours;
  if (errno == EAGAIN) return Turn::others;
  error = because("cannot lock " + wanted_.folder + "/lock");
  return Turn::never;
}

/// What builds left that did not get to their end.
void Environment::clear() const {
  DIR* list = ::opendir(wanted_.folder.c_str());
  while (const dirent* entry = list == nullptr ? nullptr : ::readdir(list))
    if (std::strncmp(entry->d_name, "env-", 4) == 0) remove_tree(wanted_.folder + "/" + entry->d_name);
  if (list != nullptr) ::closedir(list);
}

std::string Environment::begin(const std::string& script) {
  clear();
  const auto tmp = made_ + "/tmp";
  const auto recipe = made_ + "/recipe.json";
  if (::mkdir(made_.c_str(), 0700) != 0 || ::mkdir(tmp.c_str(), 0700) != 0 || !write_file(recipe, wanted_.recipe)) {
    error = because("cannot write to " + made_);
    return {};
  }
  std::string spec;
  const auto add = [&](const std::string& key, const std::string& value) { spec += key + "=" + value + '\0'; };
  add("version", "1");
  for (const auto& word :
       {std::string("/usr/bin/python3"), std::string("-I"), std::string("-B"), script, recipe, made_})
    add("arg", word);
  for (const auto& variable : {"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "PYTHONUNBUFFERED=1"})
    add("env", variable);
  add("env", "HOME=" + tmp);
  add("env", "TMPDIR=" + tmp);
  for (const char* name : kPassedOn)
    if (const char* value = std::getenv(name); value != nullptr) add("env", name + ("=" + std::string(value)));
  for (const auto& variable : wanted_.variables) add("env", variable);
  add("cwd", made_);
  add("limit_ms", "3600000");
  add("grace_ms", "2000");
  add("end", "");
  return spec;
}

bool Environment::publish() {
  remove_tree(made_ + "/tmp");
  const int folder = ::open(made_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = folder >= 0 && ::syncfs(folder) == 0;
  if (folder >= 0) ::close(folder);
  const auto beside = wanted_.folder + "/ready.new";
  ::unlink(beside.c_str());
  if (synced && ::symlink(made_.c_str() + made_.rfind('/') + 1, beside.c_str()) == 0 &&
      ::rename(beside.c_str(), (wanted_.folder + "/ready").c_str()) == 0)
    return true;
  error = because("cannot put " + made_ + " in its place");
  return false;
}

std::string Environment::said() const {
  std::string text;
  read_file(made_ + "/error", text);
  return text;
}

}  // namespace lathe::remote
