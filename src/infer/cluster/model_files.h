#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "json/json.h"

/// Models of another machine: a node keeps their files in a folder of its own, each model in one that is named by the
/// digests of its files, and reads the server's document as if they had always been there.
namespace lathe::infer {

struct ModelFile {
  std::string path;  ///< below the model's folder
  std::string sha256;
};

/// A model whose files are not here.
struct MissingModel {
  std::string endpoint;
  std::string deployment;
  std::string model;
  std::string version;
  std::filesystem::path folder;  ///< where they belong
  std::vector<ModelFile> files;
};

/// A deployment that a node does not take.
struct NotTaken {
  std::string endpoint;
  std::string deployment;
  std::string model;
  std::string version;
  std::string why;
};

struct LocalState {
  json::Object document;  ///< for the reconciler: every model in it is here
  std::vector<MissingModel> missing;
  std::vector<NotTaken> not_taken;
};

/// The server's document as this machine can follow it now: models lie below `models`; a deployment whose new model is
/// not here yet keeps what `before` has of it, or is left out; one that is Python is left out. `has` tells whether a
/// model's folder is whole. Errors: `invalid` — it is no such document.
Result<LocalState> localize(const json::Object& server, const json::Object& before, const std::filesystem::path& models,
                            const std::function<bool(const MissingModel&)>& has);

/// Whether each of the model's files is there with its digest. Reads them all.
bool is_whole(const MissingModel& model);

/// Gets the model's files by `get(sha256, file)`, which writes one of them. They are looked at, and the folder appears
/// when all of it is right; what was right stays for the next try. Errors: as `get`'s; `invalid` — a file's digest is
/// not its name.
Result<void> fetch(
    const MissingModel& model,
    const std::function<Result<void>(const std::string& sha256, const std::filesystem::path& file)>& get);

/// Removes the folders below `models` that the document does not name.
void forget_models(const std::filesystem::path& models, const json::Object& document);

}  // namespace lathe::infer
