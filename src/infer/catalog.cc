#include "infer/catalog.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <charconv>
#include <numeric>

#include "infer/batching/batch_lane.h"
#include "infer/capture/capture_writer.h"
#include "infer/sleeping_model.h"
#include "infer/trace.h"
#include "infer/workers/python_model.h"

namespace lathe::infer {
namespace {

std::atomic<std::uint64_t> last_serial{0};

}  // namespace

Deployment::Deployment(std::string endpoint_name, const DesiredDeployment& wanted, std::shared_ptr<const Model> loaded,
                       std::chrono::nanoseconds warm_run, std::shared_ptr<Stats> counters)
    : endpoint(std::move(endpoint_name)),
      name(wanted.name),
      desired(wanted),
      model(std::move(loaded)),
      reply_header("azureml-model-deployment: " + wanted.name + "\r\n"),
      stats(std::move(counters)),
      lane(static_cast<std::size_t>(wanted.instances), static_cast<std::size_t>(wanted.max_queue)),
      cost(warm_run, 0),
      serial(++last_serial),
      capture(capture_writer().open(endpoint, desired)) {
  if (config() != nullptr && config()->dynamic_batching)
    batches = std::make_shared<BatchLane>(*config(), static_cast<std::size_t>(wanted.instances));
  const auto& outputs = model->outputs();
  const auto predict =
      std::find_if(outputs.begin(), outputs.end(), [](const auto& out) { return out.name == "predict"; });
  predictions.resize(predict == outputs.end() ? outputs.size() : 1);
  std::iota(predictions.begin(), predictions.end(),
            predict == outputs.end() ? std::size_t{0} : static_cast<std::size_t>(predict - outputs.begin()));
}

void Deployment::count(int status, const Timing& timing, std::size_t rows) const {
  stats->add(status, timing, rows);
  if (traces().on()) traces().add(endpoint + "." + name, desired.model.version, status, timing);
}

int Deployment::room() const {
  if (model->python() != nullptr && desired.model.python) return desired.model.python->workers;
  if (batches) return desired.instances * std::max(1, static_cast<int>(config()->max_batch_size));
  return desired.instances;
}

std::size_t Deployment::pending() const {
  if (const auto* const python = model->python()) return python->workers()->waiting();
  return batches ? batches->waiting() : lane.waiting();
}

int Deployment::instances() const {
  if (const auto* const python = model->python()) return python->workers()->ready_workers();
  const auto* const sleeper = model->sleeper();
  return sleeper == nullptr || sleeper->awake() ? desired.instances : 0;
}

bool Deployment::scales() const {
  return model->sleeper() != nullptr || (model->python() != nullptr && desired.model.scale);
}

const std::shared_ptr<const Deployment>* Endpoint::find(std::string_view deployment) const {
  const auto found =
      std::find_if(deployments.begin(), deployments.end(), [&](const auto& each) { return each->name == deployment; });
  return found == deployments.end() ? nullptr : &*found;
}

const Endpoint* Catalog::find(std::string_view name) const {
  const auto found = endpoints.find(name);
  return found == endpoints.end() ? nullptr : &found->second;
}

Result<KeyDigest> parse_key_digest(std::string_view hex) {
  KeyDigest digest{};
  bool good = hex.size() == 2 * digest.size();
  for (std::size_t i = 0; good && i < digest.size(); ++i) {
    const char* const at = hex.data() + 2 * i;
    const auto [end, error] = std::from_chars(at, at + 2, digest[i], 16);
    good = error == std::errc{} && end == at + 2;
  }
  if (!good) return fail(Code::invalid, "a key is not the hex form of a SHA-256 digest");
  return digest;
}

Result<KeyDigest> digest_of(std::string_view key) {
  // Clients send one key again and again.
  thread_local std::string last_key;
  thread_local KeyDigest last_digest{};
  if (!key.empty() && key.size() == last_key.size() && CRYPTO_memcmp(key.data(), last_key.data(), key.size()) == 0)
    return last_digest;
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  // Kept per thread: fetching the algorithm costs more than the digest.
  thread_local const std::unique_ptr<EVP_MD_CTX, Free> context(EVP_MD_CTX_new());
  static EVP_MD* const kSha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  KeyDigest digest{};
  unsigned int size = 0;
  if (EVP_DigestInit_ex2(context.get(), kSha256, nullptr) != 1 ||
      EVP_DigestUpdate(context.get(), key.data(), key.size()) != 1 ||
      EVP_DigestFinal_ex(context.get(), digest.data(), &size) != 1)
    return fail(Code::internal, "the digest of a key cannot be computed");
  last_key = key;
  last_digest = digest;
  return digest;
}

std::optional<std::size_t> find_key(const std::vector<KeyDigest>& keys, const KeyDigest& key) {
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < keys.size(); ++i)
    if (CRYPTO_memcmp(keys[i].data(), key.data(), key.size()) == 0) found = i;
  return found;
}

}  // namespace lathe::infer
