#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "backup/backup.h"

/// Which files a store's rows name.
namespace lathe::backup {

/// The folder of a run's, a logged model's or a model version's own, from an artifact URI or a path below the
/// artifacts: "3/RUN" or "3/models/MODEL". Empty: the artifacts lie elsewhere, or it is no such path.
std::string place_of(std::string_view uri_or_path);

struct Contents {
  std::set<std::string> places;  ///< below the artifacts
  std::set<std::string>
      blobs;  ///< digests that rows name, and the files of those that are folders; not all may be there
  std::set<std::string> jobs;
  std::set<std::string> ended_jobs;
};
Result<Contents> contents_of(db::Connection& c, const std::filesystem::path& data);

std::filesystem::path blob_path(const std::filesystem::path& data, const std::string& digest);

/// What is kept of a job's folder: its logs and, once it has ended, what `job download` gives. Paths below `jobs`.
std::vector<std::filesystem::path> files_of_job(const std::filesystem::path& jobs, const std::string& job, bool ended);

/// Files of the data folder that are neither rows nor artifacts: the administrator's token, our certificate.
const std::vector<std::string>& own_files();

}  // namespace lathe::backup
