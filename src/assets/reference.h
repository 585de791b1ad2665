#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"

/// What the `path` of an input, a data asset or a model may say.
namespace lathe::assets {

struct NamedVersion {  ///< azureml:NAME:VERSION, and the long forms that end in /NAME/versions/VERSION
  std::string name;
  std::string version;
};
struct NamedLabel {  ///< azureml:NAME@LABEL, azureml:NAME (the label "latest"), .../NAME/labels/LABEL
  std::string name;
  std::string label;
};
struct InRegistry {  ///< azureml://registries/REGISTRY/...
  std::string registry;
  std::string rest;
};
struct InDatastore {  ///< azureml://datastores/STORE/paths/PATH, also within a workspace's long form
  std::string store;
  std::string path;
};
struct OfRun {  ///< azureml://jobs/RUN/outputs/artifacts/paths/PATH, runs:/RUN/PATH
  std::string run;
  std::string path;
};
struct Uploaded {  ///< tree:DIGEST or tree:DIGEST/PATH: a folder, or a part of it, that a client uploaded
  std::string digest;
  std::string path;
};
struct OnServer {  ///< an absolute path of the server's machine, also as file:///PATH
  std::string path;
};
struct Url {  ///< http and https
  std::string url;
};

using Reference = std::variant<NamedVersion, NamedLabel, InRegistry, InDatastore, OfRun, Uploaded, OnServer, Url>;

/// Errors: `invalid`, with what is taken — for other clouds' stores, paths relative to a client's folder, and nonsense.
Result<Reference> parse_reference(std::string_view text);

}  // namespace lathe::assets
