#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "db/db.h"

/// Registered models, their versions, aliases and tags. Functions over a connection, so that several subjects can share
/// one transaction; those that change something belong on the writer.
namespace lathe::registry {

struct Tag {
  std::string key;
  std::string value;
};

struct Alias {
  std::string name;
  std::int64_t version = 0;
};

struct Model {
  std::string name;
  std::string description;
  std::string created_by;
  std::int64_t created_us = 0;
  std::int64_t updated_us = 0;
  std::vector<Tag> tags;
  std::vector<Alias> aliases;
};

struct Version {
  std::string name;
  std::int64_t version = 0;
  std::string source;  ///< where its files are: `mlflow-artifacts:/...`, `runs:/...`, `models:/...`, or a subject's own
  std::string artifact_uri;  ///< the same, resolved
  std::string run_id;        ///< empty: not made by a run
  std::string run_link;
  std::string model_id;  ///< of a logged model, or empty
  std::string status = "READY";
  std::string stage = "None";  ///< MLflow's: None, Staging, Production, Archived
  std::string description;
  bool archived = false;  ///< Azure's: hidden from lists and from the label `latest`
  std::string created_by;
  std::int64_t created_us = 0;
  std::int64_t updated_us = 0;
  std::vector<Tag> tags;
  std::vector<std::string> aliases;
};

/// Errors: `conflict` — there is one; `invalid` — a bad name.
Result<void> create_model(db::Connection& c, const std::string& name, const std::string& description,
                          const std::vector<Tag>& tags, const std::string& created_by, Time now);
/// Without versions. Errors: `not_found`.
Result<Model> find_model(db::Connection& c, const std::string& name);
Result<bool> model_exists(db::Connection& c, const std::string& name);
Result<void> describe_model(db::Connection& c, const std::string& name, const std::string& description, Time now);
/// Versions, tags and aliases come along. Errors: `not_found`; `conflict` — the new name is taken; `invalid` — a bad
/// one.
Result<void> rename_model(db::Connection& c, const std::string& name, const std::string& new_name, Time now);
/// With all its versions. Errors: `not_found`.
Result<void> delete_model(db::Connection& c, const std::string& name);
Result<void> set_model_tag(db::Connection& c, const std::string& name, const Tag& tag);
Result<void> delete_model_tag(db::Connection& c, const std::string& name, const std::string& key);
Result<std::vector<std::string>> model_names(db::Connection& c);

struct VersionSpec {
  std::string name = {};
  std::optional<std::int64_t> version = {};  ///< absent: the highest so far plus one
  std::string source = {};
  std::string artifact_uri = {};  ///< empty: as `source`
  std::string run_id = {};
  std::string run_link = {};
  std::string model_id = {};
  std::string description = {};
  std::vector<Tag> tags = {};
  std::string created_by = {};
  bool create_model = false;  ///< make the registered model when there is none
};

/// Checks nothing about `source`: the caller knows what it may name.
/// Errors: `not_found` — no such model; `conflict` — the version exists; `invalid` — a bad name or tag.
Result<Version> create_version(db::Connection& c, const VersionSpec& spec, Time now);
/// Errors: `not_found`, naming what there is.
Result<Version> find_version(db::Connection& c, const std::string& name, std::int64_t version);
/// By alias; "latest" is the highest version that is not archived. Errors: `not_found`.
Result<Version> find_version_by_label(db::Connection& c, const std::string& name, const std::string& label);
/// Highest first.
Result<std::vector<Version>> versions(db::Connection& c, const std::string& name, bool with_archived = true);
Result<void> set_archived(db::Connection& c, const std::string& name, std::int64_t version, bool archived, Time now);

Result<void> describe_version(db::Connection& c, const std::string& name, std::int64_t version,
                              const std::string& description, Time now);
Result<void> delete_version(db::Connection& c, const std::string& name, std::int64_t version, Time now);
Result<void> set_version_tag(db::Connection& c, const std::string& name, std::int64_t version, const Tag& tag);
Result<void> delete_version_tag(db::Connection& c, const std::string& name, std::int64_t version,
                                const std::string& key);
/// `stage` in any case: None, Staging, Production, Archived. `archive_others`: the versions that were in that stage go
/// to Archived. Errors: `not_found`; `invalid` — no such stage.
Result<void> move_to_stage(db::Connection& c, const std::string& name, std::int64_t version, const std::string& stage,
                           bool archive_others, Time now);
/// The newest version of each of `stages` (empty: of all four) that has one.
Result<std::vector<Version>> latest_versions(db::Connection& c, const std::string& name,
                                             const std::vector<std::string>& stages);

/// Moves the alias here when another version has it. Errors: `not_found`; `invalid` — a reserved or bad alias.
Result<void> set_alias(db::Connection& c, const std::string& name, const std::string& alias, std::int64_t version);
/// An alias that is not there is no error. Errors: `not_found` — no such model.
Result<void> delete_alias(db::Connection& c, const std::string& name, const std::string& alias);
/// Errors: `not_found`.
Result<Version> find_version_by_alias(db::Connection& c, const std::string& name, const std::string& alias);

// --- searches: filters and order as in MLflow's search language ---

struct Search {
  std::string filter = {};
  std::size_t limit = 100;
  std::vector<std::string> order_by = {};
  std::string page_token = {};
};
template <class T>
struct Page {
  std::vector<T> items;
  std::string next;  ///< token of the next page; empty: this was the last
};
constexpr std::size_t kMostModelsPerPage = 1000;
constexpr std::size_t kMostVersionsPerPage = 200'000;

/// Errors: `invalid` — a filter, order or token that MLflow would refuse too.
Result<Page<Model>> search_models(db::Connection& c, const Search& search);
Result<Page<Version>> search_versions(db::Connection& c, const Search& search);

}  // namespace lathe::registry
