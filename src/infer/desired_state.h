#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model_config/model_config.h"

/// The two documents between the server and the data plane. Unknown members are ignored, so that either side may be
/// newer.
namespace lathe::infer {

struct DesiredFile {
  std::string path;  ///< below the model's folder
  std::string sha256;
  std::int64_t size = -1;  ///< -1: not said

  bool operator==(const DesiredFile&) const = default;
};

/// What an instance sees of the machine's GPUs.
struct DesiredGpus {
  std::vector<int> numbers;  ///< by which the server knows them
  std::vector<std::pair<std::string, std::string>> variables;
  std::vector<int> hidden;  ///< minor numbers of the device files of all others

  bool operator==(const DesiredGpus&) const = default;
};

/// The root file system of a container image, in which workers run.
struct DesiredImage {
  std::string root;
  std::vector<std::pair<std::string, std::string>> variables;  ///< that the image gives its processes
  std::string shim;                                            ///< lathe-shim, as the workers' account can read it

  bool operator==(const DesiredImage&) const = default;
};

/// How workers run a model that is Python. All of it belongs to the model: a change starts new workers.
struct DesiredPython {
  std::string interpreter;
  std::string library;      ///< the folder that holds Lathe's own Python
  std::string environment;  ///< the folder that the interpreter needs, where it is outside of the system's; or empty
  std::optional<DesiredImage> image;  ///< whose Python `interpreter` is; then `environment` only names it
  std::string code;                   ///< the folder with the scoring script; or empty
  std::string script;                 ///< below `code`
  std::string model_folder;           ///< the name of the folder that was registered; or empty
  std::vector<std::pair<std::string, std::string>> variables;
  int account = 0;                 ///< the user and group that workers run as; 0: as we do
  std::string isolation = "auto";  ///< "off": no sandbox
  bool network = true;             ///< in a sandbox
  std::int64_t memory_bytes = 0;   ///< of each worker; 0: no limit
  int cores = 1;                   ///< of each worker, for libraries that compute with several
  int workers = 1;
  int workers_per_instance = 1;
  std::vector<DesiredGpus> gpus;  ///< of each instance; empty: nothing is said of GPUs
  int request_timeout_ms = 5000;
  int max_queue_wait_ms = 500;
  int max_queue = 100;

  bool operator==(const DesiredPython&) const = default;
};

/// How the number of workers follows the load; all of it belongs to the model. Of a native one, whether and when it
/// leaves memory.
struct DesiredScale {
  int least = 1;  ///< 0: none while nobody asks
  int most = 1;
  int target_percent = 70;  ///< of the time in which workers are busy
  int polling_ms = 1000;
  int quiet_ms = 120'000;  ///< how long fewer must have been enough before one goes

  bool operator==(const DesiredScale&) const = default;
};

struct DesiredModel {
  std::string name;
  std::string version;
  std::string format;  ///< "xgboost", "onnx", "native"; "script", "pyfunc" or "torchscript": Python, in workers
  std::string folder;
  std::string file;  ///< below `folder`; workers need none
  std::vector<DesiredFile> files;
  std::vector<std::string> feature_names;
  std::optional<DesiredPython> python;
  std::optional<ModelConfig> config;  ///< a change loads the model again, and tries it anew
  std::string config_error;           ///< why it cannot be followed; or empty
  std::optional<DesiredScale> scale;  ///< none: as many instances as the deployment says, all the time

  bool operator==(const DesiredModel&) const = default;
};

/// What is kept of a deployment's predictions.
struct DesiredCollection {
  std::string name;          ///< "model_outputs" and "response" hold what the model answered, others what it was asked
  double sampling_rate = 1;  ///< of the predictions, above 0

  bool operator==(const DesiredCollection&) const = default;
};

struct DesiredCapture {
  std::vector<DesiredCollection> collections;
  std::string rolling_rate = "hour";  ///< of the folders: "year", "month", "day", "hour", "minute"
  std::vector<std::string> headers;   ///< of requests, that are kept; in small letters

  bool operator==(const DesiredCapture&) const = default;
};

struct DesiredDeployment {
  std::string name;
  DesiredModel model;
  std::optional<DesiredCapture> capture = {};
  int instances = 1;              ///< slow requests that run at once
  int request_timeout_ms = 5000;  ///< how long a slow request may wait for its turn
  int max_queue = 100;            ///< slow requests that may wait
  std::int64_t asked = 0;         ///< changes with each order for it: what failed is tried again then
};

/// The SHA-256 of a key, or a public key that signs tokens.
using KeyDigest = std::array<unsigned char, 32>;

/// Of each key of an endpoint.
struct DesiredRateLimit {
  double requests_per_second = 0;  ///< 0: no limit
  int burst = 1;                   ///< that may come at once

  bool operator==(const DesiredRateLimit&) const = default;
};

struct DesiredEndpoint {
  std::string name;
  std::vector<std::string> keys;  ///< hex: the SHA-256 of each or, where tokens are taken, the public key
  bool takes_tokens = false;      ///< signed by one of `keys` (base/timed_token.h), and no keys themselves
  std::vector<std::pair<std::string, int>> traffic;
  std::vector<std::pair<std::string, int>> mirror;  ///< percent of the requests that are copied to a deployment
  std::vector<DesiredDeployment> deployments;
  std::vector<std::string> allowed_origins;  ///< of pages that may ask (CORS); "*": all
  DesiredRateLimit rate_limit;
};

/// Another data plane that serves the same.
struct DesiredPeer {
  std::string name;
  std::string url;
  std::string certificate;  ///< the SHA-256 of the one that it shows; empty: it is plain

  bool operator==(const DesiredPeer&) const = default;
};

struct DesiredCluster {
  std::string name;  ///< of this data plane
  std::string key;   ///< by which those of the cluster know each other
  std::vector<DesiredPeer> peers;

  bool operator==(const DesiredCluster&) const = default;
};

struct DesiredState {
  std::int64_t generation = 0;
  bool put_out = false;  ///< a node that its server no longer knows: it serves nothing, and is not ready
  std::vector<DesiredEndpoint> endpoints;
  DesiredCluster cluster;  ///< without peers: there are no others
};

/// Errors: `invalid`, naming the member.
Result<DesiredState> parse_desired(std::string_view json);

struct ReportedDeployment {
  std::string endpoint;
  std::string deployment;
  std::string state;  ///< "loading", "ready" or "failed"
  std::string error;  ///< why it failed
  std::string model;
  std::string version;
  std::int64_t generation = 0;   ///< the newest desired state that it is ready for, or has failed at
  std::string runtime;           ///< the platform of the model that answers; empty: none does
  std::optional<int> instances;  ///< that there are now, where their number follows the load
  bool tries_again = false;      ///< it failed since it was ready, and nobody need deploy it again
};

struct Reported {
  std::int64_t generation = 0;    ///< the newest one of which every deployment is ready or failed
  std::int64_t shown = 0;         ///< the newest one whose keys and traffic hold, and whose removals are done
  std::string rest;               ///< the URL
  std::string grpc;               ///< HOST:PORT
  std::string certificate;        ///< the SHA-256 of the one that both show; empty: they are plain
  std::string error;              ///< why the newest desired state cannot be read
  std::int64_t memory_bytes = 0;  ///< the budget of native models; 0: none
  std::vector<ReportedDeployment> deployments;
  int parked_interpreters = 0;                ///< that there may be
  std::map<std::string, std::set<int>> gpus;  ///< that workers have, or may be given, by "ENDPOINT/DEPLOYMENT"
};

std::string print(const Reported& reported);

}  // namespace lathe::infer
