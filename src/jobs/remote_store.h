#pragma once

#include <optional>
#include <string>
#include <vector>

#include "db/db.h"

namespace lathe::jobs {

/// What the store keeps of a job that an engine runs elsewhere, until it has ended.
struct RemoteRow {
  std::string job;
  std::string key;  ///< ours for the job in the engine; an attempt is called KEY-NUMBER there
  std::int64_t attempt = 1;
  std::string token_hash;   ///< of this attempt's token
  std::int64_t losses = 0;  ///< earlier attempts that lost their nodes
  std::string nodes_json;   ///< the nodes that claimed it, as an array; empty: none yet

  std::string id() const { return key + "-" + std::to_string(attempt); }
};

Result<void> insert_remote(db::Connection& c, const RemoteRow& row);
/// Writes all but the job and its key. Only while the stored attempt is `row.attempt` or the one before it.
Result<bool> update_remote(db::Connection& c, const RemoteRow& row);
Result<std::optional<RemoteRow>> find_remote(db::Connection& c, const std::string& job);
Result<void> delete_remote(db::Connection& c, const std::string& job);

}  // namespace lathe::jobs
