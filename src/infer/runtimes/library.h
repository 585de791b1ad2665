#pragma once

#include <memory>
#include <string>

#include "base/result.h"

namespace lathe::infer {

/// A shared library that is loaded when it is first needed, and stays.
class Library {
 public:
  /// Errors: `unavailable`, with `advice` (a sentence) on how to get it.
  static Result<Library> open(const std::string& name, const std::string& advice);

  /// The function, or `unavailable` when this version of the library lacks it.
  template <class F>
  Result<F> function(const char* name) const {
    LATHE_TRY(void* const found, symbol(name));
    return reinterpret_cast<F>(found);
  }

 private:
  Result<void*> symbol(const char* name) const;

  void* handle_ = nullptr;
  std::string name_;
};

}  // namespace lathe::infer
