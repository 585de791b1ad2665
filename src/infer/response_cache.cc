#include "infer/response_cache.h"

#include <openssl/evp.h>

#include <cstring>

namespace lathe::infer {
namespace {

constexpr std::size_t kEntryBytes = 256;  ///< of an entry, beside its tensors

std::size_t bytes_of(const std::vector<Tensor>& outputs) {
  std::size_t bytes = kEntryBytes;
  for (const auto& each : outputs) {
    bytes += sizeof each + each.name.capacity() + each.data.capacity() + each.shape.capacity() * sizeof each.shape[0];
    for (const auto& text : each.texts) bytes += sizeof text + text.capacity();
  }
  return bytes;
}

/// Each part comes with its length, so that no two requests make the same bytes.
class Digest {
 public:
  Digest() : good_(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1) {}

  void add(const void* bytes, std::size_t size) {
    const std::uint64_t length = size;
    good_ = good_ && EVP_DigestUpdate(context_.get(), &length, sizeof length) == 1 &&
            EVP_DigestUpdate(context_.get(), bytes, size) == 1;
  }
  void number(std::uint64_t value) { add(&value, sizeof value); }

  Result<ResponseCache::Key> finish() {
    ResponseCache::Key key{};
    if (!good_ || EVP_DigestFinal_ex(context_.get(), key.data(), nullptr) != 1)
      return fail(Code::internal, "the digest of a request cannot be computed");
    return key;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_{EVP_MD_CTX_new()};
  bool good_;
};

}  // namespace

Result<ResponseCache::Key> ResponseCache::key_of(std::uint64_t owner, const InferRequest& request) {
  Digest digest;
  digest.number(owner);
  digest.add(request.wanted.data(), request.wanted.size() * sizeof request.wanted[0]);
  for (const auto& input : request.inputs) {
    digest.number(static_cast<std::uint64_t>(input.type));
    digest.add(input.shape.data(), input.shape.size() * sizeof input.shape[0]);
    digest.add(input.data.data(), input.data.size());
    digest.number(input.texts.size());
    for (const auto& text : input.texts) digest.add(text.data(), text.size());
  }
  return digest.finish();
}

ResponseCache::Outputs ResponseCache::find(const Key& key) {
  const std::lock_guard lock(mutex_);
  const auto found = places_.find(key);
  if (found == places_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->outputs;
}

void ResponseCache::put(const Key& key, std::vector<Tensor> outputs) {
  const auto bytes = bytes_of(outputs);
  if (bytes > most_bytes_) return;
  auto kept = std::make_shared<const std::vector<Tensor>>(std::move(outputs));
  const std::lock_guard lock(mutex_);
  if (places_.contains(key)) return;  // another request was as quick
  while (bytes_ + bytes > most_bytes_) {
    bytes_ -= entries_.back().bytes;
    places_.erase(entries_.back().key);
    entries_.pop_back();
  }
  bytes_ += bytes;
  entries_.push_front({key, std::move(kept), bytes});
  places_.emplace(key, entries_.begin());
}

}  // namespace lathe::infer
