#include "infer/runtimes/library.h"

#include <dlfcn.h>

namespace lathe::infer {

Result<Library> Library::open(const std::string& name, const std::string& advice) {
  Library library;
  library.name_ = name;
  library.handle_ = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library.handle_ == nullptr) {
    const char* why = ::dlerror();
    return fail(Code::unavailable, advice + " (" + (why != nullptr ? why : "unknown error") + ")");
  }
  return library;
}

Result<void*> Library::symbol(const char* name) const {
  void* found = ::dlsym(handle_, name);
  if (found == nullptr) return fail(Code::unavailable, name_ + " has no function " + name + ": it is another version");
  return found;
}

}  // namespace lathe::infer
