#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "infer/protocols/infer_request.h"

namespace lathe::infer {

/// Outputs of requests that were answered before, of all deployments, bounded in bytes: the least recently used leave.
/// Thread-safe.
class ResponseCache {
 public:
  using Outputs = std::shared_ptr<const std::vector<Tensor>>;
  /// SHA-256 of whose model it is, the inputs, and which outputs are asked for.
  using Key = std::array<unsigned char, 32>;

  explicit ResponseCache(std::size_t most_bytes) : most_bytes_(most_bytes) {}

  /// `owner`: a number of the loaded model; another version has another one. Errors: `internal`.
  static Result<Key> key_of(std::uint64_t owner, const InferRequest& request);

  /// Null when it is not there.
  Outputs find(const Key& key);
  /// What is larger than the whole cache is not kept.
  void put(const Key& key, std::vector<Tensor> outputs);

 private:
  struct Entry {
    Key key;
    Outputs outputs;
    std::size_t bytes = 0;
  };
  using Entries = std::list<Entry>;  ///< the most recently used first

  const std::size_t most_bytes_;
  std::mutex mutex_;
  std::size_t bytes_ = 0;
  Entries entries_;
  std::map<Key, Entries::iterator> places_;
};

}  // namespace lathe::infer
