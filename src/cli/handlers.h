#pragma once

#include <cstdio>

#include "cli/verbs.h"
#include "json/json.h"

namespace lathe::cli {

/// The verbs' code. The first ones serve any group: what they call is in the verb's row of the table.
Result<int> run_create(Session& session);  ///< sends the document, waits unless --no-wait
Result<int> run_update(Session& session);  ///< sends the fields that were given
Result<int> run_show(Session& session);
Result<int> run_show_version(Session& session);  ///< NAME, NAME -v VERSION, NAME:VERSION, NAME@LABEL
Result<int> run_list(Session& session);
Result<int> run_act(Session& session);             ///< a call without a body
Result<int> run_act_on_version(Session& session);  ///< as run_act, on a version or, without -v, on all
Result<int> run_remove(Session& session);          ///< asks first

Result<int> run_compute_attach(Session& session);  ///< as run_create, of the type slurm
Result<int> run_job_create(Session& session);
Result<int> run_job_stream(Session& session);
Result<int> run_job_download(Session& session);
Result<int> run_job_why(Session& session);  ///< one sentence, or with -o or --query the whole answer
Result<int> run_environment_log(Session& session);
Result<int> run_model_rebuild(Session& session);
Result<int> run_model_download(Session& session);
Result<int> run_endpoint_invoke(Session& session);
Result<int> run_deployment_logs(Session& session);
Result<int> run_rollback(Session& session);
Result<int> run_regenerate_keys(Session& session);
Result<int> run_token_create(Session& session);
/// Deletes; with --permanently asks first, and waits until what it held is gone.
Result<int> run_delete(Session& session);
Result<int> run_model_delete(Session& session);
Result<int> run_experiment_create(Session& session);
Result<int> run_experiment_list(Session& session);
Result<int> run_experiment_show(Session& session);
Result<int> run_run_list(Session& session);
Result<int> run_run_show(Session& session);
Result<int> run_store_import(Session& session);
Result<int> run_scheduler_replay(Session& session);
Result<int> run_scheduler_simulate(Session& session);
Result<int> run_login(Session& session);
Result<int> run_logout(Session& session);
Result<int> run_context_list(Session& session);
Result<int> run_context_use(Session& session);
Result<int> run_context_delete(Session& session);

/// Follows a job to its end: its output to `log`, its states to stderr. Answers the exit code.
Result<int> follow_job(Session& session, const std::string& name, std::FILE* log);

/// The path of the version that NAME -v VERSION, NAME:VERSION, NAME@LABEL or NAME -l LABEL names; of NAME alone, the
/// newest.
Result<std::string> version_path(const Session& session);

/// What --max-results says. Errors: `invalid` — it is no whole number from 1.
Result<std::size_t> max_results(const Session& session, std::size_t otherwise);

/// Sends the session's document with its local files, and prints the report of the answer.
Result<json::Value> send_document(Session& session, std::string_view method, const std::string& path);

}  // namespace lathe::cli
