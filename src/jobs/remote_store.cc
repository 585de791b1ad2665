#include "jobs/remote_store.h"

namespace lathe::jobs {

Result<void> insert_remote(db::Connection& c, const RemoteRow& row) {
  LATHE_CHECK(db::run(c,
                      "INSERT INTO remote_job (job, remote_key, attempt, token_hash, losses, nodes) "
                      "VALUES ($1, $2, $3, $4, $5, $6)",
                      row.job, row.key, row.attempt, row.token_hash, row.losses, row.nodes_json));
  return {};
}

Result<bool> update_remote(db::Connection& c, const RemoteRow& row) {
  LATHE_TRY(const auto changed, db::run(c,
                                        "UPDATE remote_job SET attempt = $2, token_hash = $3, losses = $4, nodes = $5 "
                                        "WHERE job = $1 AND (attempt = $2 OR attempt = $2 - 1)",
                                        row.job, row.attempt, row.token_hash, row.losses, row.nodes_json));
  return changed == 1;
}

Result<std::optional<RemoteRow>> find_remote(db::Connection& c, const std::string& job) {
  return db::first(
      c, "SELECT job, remote_key, attempt, token_hash, losses, nodes FROM remote_job WHERE job = $1",
      [](const db::Row& row) {
        return RemoteRow{row.text(0), row.text(1), row.integer(2), row.text(3), row.integer(4), row.text(5)};
      },
      job);
}

Result<void> delete_remote(db::Connection& c, const std::string& job) {
  LATHE_CHECK(db::run(c, "DELETE FROM remote_job WHERE job = $1", job));
  return {};
}

}  // namespace lathe::jobs
