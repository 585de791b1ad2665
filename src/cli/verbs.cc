#include "cli/verbs.h"

#include "cli/handlers.h"

namespace lathe::cli {
namespace {

// clang-format off: a table, a row for each verb

using enum Goes;
using enum Takes;

const Flag kDescription{"--description", "", text, field, "description", "what it is"};
const Flag kDisplayName{"--display-name", "", text, field, "display_name", "name to show"};
const Flag kTags{"--tags", "", map, field, "tags", "tags"};
const Flag kStrict{"--strict", "", none, query, "strict", "refuse what would be substituted or ignored"};
const Flag kNoWait{"--no-wait", "", none, verb, "", "do not wait until it is ready"};
const Flag kMaxResults{"--max-results", "-r", scalar, verb, "", "at most so many"};
const Flag kArchivedToo{"--include-archived", "", none, query, "include_archived", "archived ones too"};
const Flag kLabel{"--label", "-l", text, verb, "", "label in place of a version, such as latest"};
const Flag kOfName{"--name", "-n", text, query, "name", "the versions of this name"};
const Flag kEndpoint{"--endpoint-name", "-e", text, field, "endpoint_name", "the endpoint"};
const Flag kDigest{"--digest", "", text, verb, "", "its digest, or the beginning of it"};
const Flag kPermanently{"--permanently", "", none, verb, "", "for good, with all that it holds; asks first"};
const Flag kGoesOn{"--no-wait", "", none, verb, "", "do not wait until its space is free"};
const Flag kDeleted{"--deleted", "", none, verb, "", "those that are marked as deleted"};
const Flag kDownloadPath{"--download-path", "-p", path, verb, "", "folder to write to (default: the working folder)"};

Group job_group() {
  return {"job", "job", "Run commands on compute, and follow them",
          {{"Name", "name"}, {"Status", "status"}, {"Experiment", "experiment_name"}, {"Compute", "compute"},
           {"Created by", "creation_context.created_by"}, {"Created", "creation_context.created_at"}},
          {{"create", "Submit a job from its YAML", run_job_create, "POST", "/api/v1/jobs",
            {{"--stream", "-s", none, verb, "", "follow it to its end; fails when the job fails"}, kStrict,
             {"--compute", "", text, field, "compute", "compute target"},
             {"--experiment-name", "", text, field, "experiment_name",
              "experiment (default: the working folder's name)"},
             {"--command", "", text, field, "command", "command line, in place of a file's"},
             {"--code", "", path, field, "code", "code folder"},
             {"--environment", "", text, field, "environment", "environment"},
             kDisplayName, kDescription, kTags},
            {{"job create -f job.yml --stream", "follow its log; fails when the job fails"},
             {"job create -f job.yml --set inputs.rate=0.1", "change a field of the file"},
             {"job create -f job.yml --query name -o tsv", "print the job's name only"},
             {"job create --command 'python3 -V' --compute local", "without a file"}}},
           {"list", "List jobs, newest first", run_list, "GET", "/api/v1/jobs",
            {kMaxResults, kArchivedToo, {"--state", "", text, query, "state", "only in this state, such as Running"},
             {"--experiment-name", "", text, query, "experiment_name", "only of this experiment"}},
            {{"job list -o table", "what ran, newest first"},
             {"job list --query \"[?status=='Failed'].name\" -o tsv", "names of failed jobs"}}},
           {"show", "Show a job", run_show, "GET", "/api/v1/jobs/{name}", {},
            {{"job show -n JOB --query status -o tsv", "its state"}}},
           {"stream", "Follow a job's log and states to its end", run_job_stream, "GET", "/api/v1/jobs/{name}/events",
            {{"--rank", "", text, query, "rank", "of a job with several processes, whose log (default: 0)"}},
            {{"job stream -n JOB", "also after Ctrl-C or a restart of the server"},
             {"job stream -n JOB --rank 3", "what its fourth process prints"}}},
           {"why", "What a job waits for", run_job_why, "GET", "/api/v1/jobs/{name}/why", {},
            {{"job why -n JOB", "what it waits for, its place, when it may start, and what would let it start sooner"}}},
           {"cancel", "Ask a job to stop", run_act, "POST", "/api/v1/jobs/{name}/cancel", {},
            {{"job cancel -n JOB", "TERM, then KILL"}}},
           {"download", "Fetch a job's log, artifacts and outputs", run_job_download, "GET",
            "/api/v1/jobs/{name}/files",
            {kDownloadPath, {"--output-name", "", text, verb, "", "only this output"},
             {"--all", "", none, verb, "", "everything, outputs too"}},
            {{"job download -n JOB --all -p result", "everything that it left"}}},
           {"archive", "Hide a job from lists", run_act, "POST", "/api/v1/jobs/{name}/archive", {}, {}},
           {"restore", "Show an archived job in lists again", run_act, "POST", "/api/v1/jobs/{name}/restore", {}, {}}}};
}

Group compute_group() {
  const std::vector<Flag> fields{
      {"--type", "-t", text, field, "type", "amlcompute (a cluster) or computeinstance"},
      {"--size", "", text, field, "size", "what a node has; see list-sizes"},
      {"--min-instances", "", scalar, field, "min_instances", "nodes that always run"},
      {"--max-instances", "", scalar, field, "max_instances", "nodes at most"},
      {"--idle-time-before-scale-down", "", scalar, field, "idle_time_before_scale_down",
       "seconds until an idle node goes"},
      {"--tier", "", text, field, "tier", "dedicated, or low_priority: its jobs give way to others"},
      {"--idle-time-before-shutdown", "", text, field, "idle_time_before_shutdown",
       "when an idle instance stops, such as PT30M"},
      {"--idle-time-before-shutdown-minutes", "", scalar, field, "idle_time_before_shutdown_minutes",
       "the same in minutes"},
      kDescription, kTags, kStrict, kNoWait};
  const std::vector<Flag> partition{
      {"--type", "-t", text, field, "type", "slurm, the only type that can be attached"},
      {"--partition", "", text, field, "partition", "partition of the Slurm cluster"},
      {"--account", "", text, field, "account", "Slurm's account"},
      {"--qos", "", text, field, "qos", "Slurm's QOS"},
      {"--cores", "", scalar, field, "cores", "cores of each node; without it jobs have whole nodes"},
      {"--memory", "", text, field, "memory", "memory of each node, such as 16G"},
      {"--gpus", "", scalar, field, "gpus", "GPUs of each node"},
      kDescription, kTags, kStrict, kNoWait};
  return {"compute", "compute target", "Make and watch compute targets",
          {{"Name", "name"}, {"Type", "type"}, {"Size", "size"}, {"Nodes", "current_node_count"},
           {"Min", "min_instances"},
           {"Max", "max_instances"}, {"Running", "running_jobs"}, {"Queued", "queued_jobs"},
            {"State", "provisioning_state"}, {"Instance", "state"}},
          {{"create", "Make a training cluster or a compute instance", run_create, "POST", "/api/v1/compute", fields,
            {{"compute create -f compute.yml", "from Azure's YAML"},
             {"compute create -n cpu --type amlcompute --max-instances 2", "a cluster from flags"},
             {"compute create -n mia --type computeinstance --size cpu-1 --idle-time-before-shutdown PT30M",
              "an instance that stops when it is idle"}}},
           {"attach", "Attach a partition of a Slurm cluster", run_compute_attach, "POST", "/api/v1/compute", partition,
            {{"compute attach -n gpu --partition gpu --cores 8 --gpus 1", "8 cores and a GPU of each node"},
             {"compute attach -f gpu.yml", "from a file"}}},
           {"detach", "Let go of a partition on which no job runs or waits", run_remove, "DELETE",
            "/api/v1/compute/{name}", {kNoWait}, {{"compute detach -n gpu --yes", "without asking"}}},
           {"show", "Show a target, its nodes and what they did", run_show, "GET", "/api/v1/compute/{name}", {},
            {{"compute show -n cpu", "its nodes, and why they are there"}}},
           {"list", "List compute targets", run_list, "GET", "/api/v1/compute", {kMaxResults,
            {"--type", "-t", text, query, "type", "only of this type"}},
            {{"compute list -o table", "targets and their nodes"}}},
           {"update", "Change a target", run_update, "PATCH", "/api/v1/compute/{name}", fields,
            {{"compute update -n cpu --max-instances 4", "let it grow further"}}},
           {"start", "Start a compute instance", run_act, "POST", "/api/v1/compute/{name}/start", {kNoWait},
            {{"compute start -n mia", "when there is room; `compute show` says what it waits for"}}},
           {"stop", "Stop a compute instance, and what runs on it", run_act, "POST", "/api/v1/compute/{name}/stop",
            {kNoWait}, {{"compute stop -n mia", "gives its cores, memory and GPUs back"}}},
           {"restart", "Stop a compute instance and start it again", run_act, "POST",
            "/api/v1/compute/{name}/restart", {kNoWait}, {{"compute restart -n mia", "ends what runs on it"}}},
           {"delete", "Delete a target on which nothing runs", run_remove, "DELETE", "/api/v1/compute/{name}",
            {kNoWait},
            {{"compute delete -n cpu --yes", "without asking"}}},
           {"list-sizes", "What nodes may have, and Azure's sizes here", run_list, "GET", "/api/v1/compute-sizes",
            {{"--type", "-t", text, query, "type", "only for this type"}},
             {{"compute list-sizes -o table", "cores, memory, GPUs"}}},
           {"list-nodes", "The nodes of a target", run_list, "GET", "/api/v1/compute/{name}/nodes", {},
            {{"compute list-nodes -n cpu -o table", "who runs where"}}},
           {"list-usage", "Who has how much of the machine", run_list, "GET", "/api/v1/compute-usage", {},
            {{"compute list-usage", "cores, memory and GPUs by their holders"}}},
           {"list-gpus", "The machine's GPUs, and who uses them", run_list, "GET", "/api/v1/compute-gpus", {},
            {{"compute list-gpus -o table", "also those that processes outside Lathe use"}}}}};
}

std::vector<Column> asset_columns() {
  return {{"Name", "name"}, {"Version", "version"}, {"Type", "type"}, {"Created by", "creation_context.created_by"},
          {"Created", "creation_context.created_at"}};
}

Group data_group() {
  return {"data", "data asset", "Register data by name and version", asset_columns(),
          {{"create", "Register a file or folder", run_create, "POST", "/api/v1/data",
            {{"--type", "-t", text, field, "type", "uri_file, uri_folder or mltable"},
             {"--path", "", path, field, "path", "file, folder, azureml:// or https:// address"}, kDescription, kTags,
              kStrict},
            {{"data create -f data.yml", "from Azure's YAML"},
             {"data create -n iris --path ./iris.csv --type uri_file",
              "from flags; the version follows the last one"}}},
           {"show", "Show a version (default: the newest)", run_show_version, "GET", "/api/v1/data", {kLabel},
            {{"data show -n iris -v 2", "one version"}, {"data show iris@latest", "the newest"}}},
           {"list", "List data", run_list, "GET", "/api/v1/data", {kMaxResults, kArchivedToo, kOfName},
            {{"data list -o table", "the newest of each"}}},
           {"archive", "Hide a version, or all", run_act_on_version, "POST", "/api/v1/data", {},
            {{"data archive -n iris -v 1", "hide version 1"}}},
           {"restore", "Show it again", run_act_on_version, "POST", "/api/v1/data", {}, {}}}};
}

Group environment_group() {
  return {"environment", "environment", "Register environments by name and version", asset_columns(),
          {{"create", "Register an environment", run_create, "POST", "/api/v1/environments",
            {{"--image", "-i", text, field, "image", "container image"},
             {"--conda-file", "-c", path, field, "conda_file", "conda's YAML"},
             {"--build-context", "-b", path, field, "build.path", "folder with a Dockerfile"}, kDescription, kTags,
              kStrict},
            {{"environment create -f env.yml", "from Azure's YAML"},
             {"environment create -n sk --image python:3.11 --conda-file conda.yml", "from flags"}}},
           {"show", "Show a version (default: the newest)", run_show_version, "GET", "/api/v1/environments", {kLabel},
            {{"environment show -n sk -v 1", "one version"}}},
           {"list", "List environments", run_list, "GET", "/api/v1/environments", {kMaxResults, kArchivedToo,
            kOfName}, {{"environment list -o table", "the newest of each"}}},
           {"archive", "Hide a version, or all", run_act_on_version, "POST", "/api/v1/environments", {}, {}},
           {"restore", "Show it again", run_act_on_version, "POST", "/api/v1/environments", {}, {}},
           {"build", "Build a version (default: the newest) before a job asks for it", run_act_on_version, "POST",
            "/api/v1/environments", {}, {{"environment build -n sk", "answers at once; `environment build-log` follows"}}},
           {"list-builds", "List what was built, with its space and last use", run_list, "GET",
            "/api/v1/environment-builds", {kMaxResults},
            {{"environment list-builds --query \"[].[digest,state,size_bytes,last_used_at]\" -o tsv", "what takes room"}}},
           {"show-build", "Show one, with its packages", run_show, "GET", "/api/v1/environment-builds/{digest}",
            {kDigest}, {{"environment show-build 3fa9c1", "the beginning of its digest is enough"}}, "--digest"},
           {"build-log", "Follow a build's log to its end", run_environment_log, "GET",
            "/api/v1/environment-builds/{digest}/events", {kDigest}, {{"environment build-log 3fa9c1", "while it is built, or later"}},
            "--digest"},
           {"cancel-build", "End a build; jobs that wait for it fail", run_act, "POST",
            "/api/v1/environment-builds/{digest}/cancel", {kDigest}, {{"environment cancel-build 3fa9c1", "at once"}}, "--digest"},
           {"delete-build", "Free the space of what was built", run_remove, "DELETE", "/api/v1/environment-builds/{digest}",
            {kDigest}, {{"environment delete-build 3fa9c1 --yes", "it is built again when a job asks for it"}}, "--digest"}}};
}

Group model_group() {
  return {"model", "model", "Keep models by name and version, with what made them", asset_columns(),
          {{"create", "Register a model", run_create, "POST", "/api/v1/models",
            {{"--type", "-t", text, field, "type", "custom_model, mlflow_model or triton_model"},
             {"--path", "-p", path, field, "path",
              "file, folder or address, such as azureml://jobs/JOB/outputs/artifacts/paths/model"},
             kDescription, kTags, kStrict},
            {{"model create -n churn --path ./model.ubj --type custom_model", "from a file"},
             {"model create -f model.yml", "from Azure's YAML"}}},
           {"show", "Show a version (default: the newest) and what made it", run_show_version, "GET",
            "/api/v1/models", {kLabel},
            {{"model show -n churn -v 3", "code, data and parameters that made it"},
             {"model show churn@latest", "the newest"}}},
           {"list", "List models", run_list, "GET", "/api/v1/models", {kMaxResults, kArchivedToo, kOfName},
            {{"model list -o table", "the newest of each"}}},
           {"rebuild", "Run again what made a version, and compare the predictions", run_model_rebuild, "POST",
            "/api/v1/models",
            {kLabel, {"--compute", "", text, field, "compute", "compute target (default: the one of then)"},
             {"--request-file", "-r", path, verb, "", "rows to ask both models, as for `online-endpoint invoke`; .csv too"},
             {"--tolerance", "", scalar, verb, "", "greatest difference of two numbers (default: 1e-6; 0: none)"},
             {"--register", "", none, verb, "", "make a version of the rebuild, if it is equal"},
             {"--job", "", text, verb, "", "compare with this rebuild, in place of a new one"},
             {"--no-wait", "", none, verb, "", "submit the job only"}},
            {{"model rebuild churn:3", "exits with 0 if both predict the same, else with 1"},
             {"model rebuild churn@latest --request-file rows.json --tolerance 0", "the very same numbers, for these rows"},
             {"model rebuild churn:3 -o json", "with each file's digests"}}},
           {"download", "Fetch a version's files", run_model_download, "GET",
            "/api/v1/models/{name}/versions/{version}/files",
            {kDownloadPath, kLabel}, {{"model download -n churn -v 3 -p models", "into models/churn"}}},
           {"archive", "Hide a version, or all", run_act_on_version, "POST", "/api/v1/models", {},
            {{"model archive -n churn -v 1", "hide version 1"}}},
           {"restore", "Show it again", run_act_on_version, "POST", "/api/v1/models", {}, {}},
           {"delete", "Remove a version, or the model with all of them", run_model_delete, "DELETE", "/api/v1/models",
            {kPermanently, kGoesOn},
            {{"model delete -n churn -v 1 --yes", "from the registry; its files stay"},
             {"model delete -n churn --permanently", "all versions, with the files that only they need"}}}}};
}

Group endpoint_group() {
  const Flag traffic{"--traffic", "-r", map, field, "traffic", "percent for each deployment"};
  const Flag auth{"--auth-mode", "", text, field, "auth_mode", "key or aml_token"};
  return {"online-endpoint", "online endpoint", "Answer predictions in real time",
          {{"Name", "name"}, {"State", "provisioning_state"}, {"Traffic", "traffic"}, {"Scoring URI", "scoring_uri"}},
          {{"create", "Make an endpoint", run_create, "POST", "/api/v1/online-endpoints", {auth, kDescription, kTags,
           kStrict, kNoWait},
            {{"online-endpoint create -f endpoint.yml", "from Azure's YAML"},
             {"online-endpoint create -n churn", "from flags"}}},
           {"show", "Show an endpoint and its scoring URI", run_show, "GET", "/api/v1/online-endpoints/{name}", {},
            {{"online-endpoint show -n churn --query scoring_uri -o tsv", "where to send requests"}}},
           {"list", "List endpoints", run_list, "GET", "/api/v1/online-endpoints", {kMaxResults},
            {{"online-endpoint list -o table", "endpoints and their traffic"}}},
           {"update", "Change an endpoint or its traffic", run_update, "PATCH", "/api/v1/online-endpoints/{name}",
            {traffic, {"--mirror-traffic", "", map, field, "mirror_traffic", "percent to copy to a deployment"},
             {"--guard", "", text, field, "guard", "what the deployment that gets more must keep to: p99<50ms,errors<1%"},
             {"--for", "", text, field, "for", "how long the guard watches (10m); then the traffic stays"},
             kDescription, kTags, kStrict, kNoWait},
            {{"online-endpoint update -n churn --traffic \"blue=90 green=10\"", "share the requests"},
             {"online-endpoint update -n churn --traffic green=10 --guard 'p99<50ms,errors<1%' --for 10m",
              "and go back by itself should it not hold"}}},
           {"stats", "Print what an endpoint's deployments have done", run_show, "GET",
            "/api/v1/online-endpoints/{name}/statistics", {},
            {{"online-endpoint stats -n churn --query \"deployments[].[name,requests,errors,p99_us]\" -o tsv",
              "requests, errors and times since the data plane began"}}},
           {"revisions", "List what an endpoint served before", run_list, "GET",
            "/api/v1/online-endpoints/{name}/revisions", {kMaxResults},
            {{"online-endpoint revisions -n churn --query \"[].[number,what]\" -o tsv", "each change that took effect"}}},
           {"rollback", "Bring an earlier revision back", run_rollback, "POST",
            "/api/v1/online-endpoints/{name}/rollback",
            {{"--revision", "", scalar, verb, "", "its number (default: the one before the newest)"}, kNoWait},
            {{"online-endpoint rollback -n churn", "undo the last change; no request fails"},
             {"online-endpoint rollback -n churn --revision 3", "models, settings and traffic as they were then"}}},
           {"delete", "Delete an endpoint with its deployments", run_remove, "DELETE",
            "/api/v1/online-endpoints/{name}", {kNoWait},
            {{"online-endpoint delete -n churn --yes", "without asking"}}},
           {"invoke", "Send a request", run_endpoint_invoke, "POST", "/api/v1/online-endpoints/{name}/invoke",
            {{"--request-file", "-r", path, verb, "", "the request's body (JSON)"},
             {"--deployment-name", "-d", text, query, "deployment", "this deployment, whatever the traffic"}},
            {{"online-endpoint invoke -n churn --request-file request.json", "print the predictions"}}},
           {"get-credentials", "Print an endpoint's keys, or a token", run_show, "GET",
            "/api/v1/online-endpoints/{name}/credentials", {},
            {{"online-endpoint get-credentials -n churn --query primaryKey -o tsv", "the key alone"},
             {"online-endpoint get-credentials -n churn --query accessToken -o tsv", "a token, with auth_mode aml_token"}}},
           {"regenerate-keys", "Replace a key", run_regenerate_keys, "POST",
            "/api/v1/online-endpoints/{name}/regenerate-keys",
            {{"--key-type", "", text, field, "key_type", "primary (default) or secondary"}, kNoWait},
            {{"online-endpoint regenerate-keys -n churn --key-type secondary", "the other key goes on working"}}}}};
}

Group deployment_group() {
  const std::string_view one = "/api/v1/online-endpoints/{endpoint_name}/deployments/{name}";
  const std::vector<Flag> fields{kEndpoint,
                                 {"--model", "", text, field, "model", "azureml:NAME:VERSION or azureml:NAME@LABEL"},
                                 {"--instance-type", "", text, field, "instance_type", "what an instance has"},
                                 {"--instance-count", "", scalar, field, "instance_count", "instances"},
                                 {"--all-traffic", "", none, query, "all_traffic",
                                  "send all requests to it when it is ready"},
                                 kDescription, kTags, kStrict, kNoWait};
  return {"online-deployment", "online deployment", "Put models behind endpoints",
          {{"Name", "name"}, {"Endpoint", "endpoint_name"}, {"Model", "model"}, {"Instances", "instance_count"},
           {"State", "provisioning_state"}},
          {{"create", "Deploy a model", run_create, "POST",
           "/api/v1/online-endpoints/{endpoint_name}/deployments", fields,
            {{"online-deployment create -f deployment.yml --all-traffic", "deploy, then send it all requests"},
             {"online-deployment create -f green.yml --set model=azureml:churn:4",
              "another version beside the first"}}},
           {"show", "Show a deployment", run_show, "GET", one, {kEndpoint},
            {{"online-deployment show -n blue -e churn", "its state"}}},
           {"list", "List an endpoint's deployments", run_list, "GET",
            "/api/v1/online-endpoints/{endpoint_name}/deployments", {kEndpoint, kMaxResults},
            {{"online-deployment list -e churn -o table", "all of an endpoint"}}},
           {"get-logs", "Print what a deployment's Python printed", run_deployment_logs, "GET",
            "/api/v1/online-endpoints/{endpoint_name}/deployments/{name}/logs",
            {kEndpoint, {"--lines", "-l", text, query, "lines", "the last so many lines (5000)"}},
            {{"online-deployment get-logs -n blue -e churn --lines 100", "the end of its log"}}},
           {"update", "Change a deployment", run_update, "PATCH", one, fields,
            {{"online-deployment update -n blue -e churn --set model=azureml:churn:4",
             "swap the model, no request fails"}}},
           {"delete", "Delete a deployment", run_remove, "DELETE", one, {kEndpoint, kNoWait},
            {{"online-deployment delete -n blue -e churn --yes", "without asking"}}}}};
}

Group node_group() {
  return {"inference-node", "inference node", "Let other machines answer predictions too",
          {{"Name", "name"}, {"State", "state"}, {"URL", "url"}, {"Version", "version"}, {"Last seen", "last_seen"}},
          {{"create", "Make a node with its token, which is shown once", run_create, "POST", "/api/v1/inference-nodes",
            {}, {{"inference-node create -n gpu-1 --query token -o tsv > gpu-1.token",
                  "then, on that machine: lathe-infer --join https://SERVER:8080 --token-file gpu-1.token"}}},
           {"list", "List nodes", run_list, "GET", "/api/v1/inference-nodes", {kMaxResults},
            {{"inference-node list -o table", "which are online"}}},
           {"show", "Show a node and what it serves", run_show, "GET", "/api/v1/inference-nodes/{name}", {},
            {{"inference-node show -n gpu-1 --query \"deployments[].[endpoint,deployment,state,error]\" -o tsv",
              "what is ready there, and why the rest is not"}}},
           {"delete", "Revoke a node's token: it stops answering", run_remove, "DELETE",
            "/api/v1/inference-nodes/{name}", {}, {{"inference-node delete -n gpu-1 --yes", "without asking"}}}}};
}

std::vector<Group> people_groups() {
  return {
      {"experiment", "experiment", "What runs belong to",
       {{"Id", "experiment_id"}, {"Name", "name"}, {"Stage", "lifecycle_stage"}},
       {{"list", "List experiments", run_experiment_list, "POST", "/api/2.0/mlflow/experiments/search",
         {kMaxResults, kDeleted},
         {{"experiment list -o table", "all experiments"},
          {"experiment list --deleted -o table", "what `experiment restore` can bring back"}}},
        {"show", "Show an experiment", run_experiment_show, "GET", "/api/2.0/mlflow/experiments/get-by-name", {},
         {{"experiment show -n churn", "by its name"}}},
        {"create", "Make an experiment", run_experiment_create, "POST", "/api/2.0/mlflow/experiments/create",
         {{"--tags", "", map, verb, "", "tags"}}, {{"experiment create -n churn --tags team=red", "empty"}}},
        {"delete", "Mark an experiment and its runs as deleted", run_delete, "DELETE", "/api/v1/experiments/{name}",
         {kPermanently, kGoesOn},
         {{"experiment delete -n churn", "`experiment restore` takes it back"},
          {"experiment delete -n churn --permanently --yes", "with its runs and artifacts; the name is free"}}},
        {"restore", "Take a deletion back", run_act, "POST", "/api/v1/experiments/{name}/restore", {},
         {{"experiment restore -n churn", "with the runs that went with it"}}}}},
      {"run", "run", "What jobs and clients logged",
       {{"Run", "info.run_id"}, {"Name", "info.run_name"}, {"Status", "info.status"}, {"User", "info.user_id"},
        {"Stage", "info.lifecycle_stage"}},
       {{"list", "List an experiment's runs", run_run_list, "POST", "/api/2.0/mlflow/runs/search",
         {kMaxResults, kDeleted, {"--experiment-name", "", text, verb, "", "the experiment (default: all)"},
          {"--filter", "", text, verb, "", "such as metrics.accuracy > 0.9"},
          {"--order-by", "", list, verb, "", "such as \"metrics.accuracy DESC\""}},
         {{"run list --experiment-name churn --order-by \"metrics.accuracy DESC\" -o table", "best first"},
          {"run list --deleted -o table", "what `run restore` can bring back"}}},
        {"show", "Show a run: parameters, metrics, tags", run_run_show, "GET", "/api/2.0/mlflow/runs/get", {},
         {{"run show -n RUN", "by its id, which for a job is the job's name; or by its name, where only one has it"}}},
        {"delete", "Mark a run as deleted", run_delete, "DELETE", "/api/v1/runs/{name}", {kPermanently, kGoesOn},
         {{"run delete -n RUN", "`run restore` takes it back"},
          {"run delete -n RUN --permanently", "with its metrics, models and artifacts"}}},
        {"restore", "Take a deletion back", run_act, "POST", "/api/v1/runs/{name}/restore", {},
         {{"run restore -n RUN", "as it was"}}}}},
      {"user", "user", "Who may use the server",
       {{"Name", "name"}, {"Role", "role"}, {"Created by", "created_by"}, {"Created", "created_at"}},
       {{"create", "Add a user; prints the first token", run_create, "POST", "/api/v1/users",
         {{"--role", "", text, field, "role", "administrator, member (default) or viewer"}},
         {{"user create mia --role member --query token -o tsv", "the token for `lathe login`"}}},
        {"list", "List users", run_list, "GET", "/api/v1/users", {kMaxResults},
         {{"user list -o table", "names and roles"}}},
        {"delete", "Remove a user and the user's tokens", run_remove, "DELETE", "/api/v1/users/{name}", {},
         {{"user delete mia --yes", "what mia made stays"}}}}},
      {"token", "token", "Tokens for programs and logins",
       {{"Id", "id"}, {"Name", "name"}, {"User", "user"}, {"Created", "created_at"}, {"Expires", "expires_at"}},
       {{"create", "Make a token; it is shown once", run_token_create, "POST", "/api/v1/tokens",
         {{"--user", "", text, field, "user", "whose (default: yours)"},
          {"--expires-in", "", text, field, "expires_in", "such as 30d (default: never)"}},
         {{"token create -n ci --expires-in 30d", "for a program"}}},
        {"list", "List tokens, without their secrets", run_list, "GET", "/api/v1/tokens", {kMaxResults,
         {"--all", "", none, query, "all", "everybody's"}}, {{"token list -o table", "yours"}}},
        {"revoke", "Make a token worthless", run_act, "DELETE", "/api/v1/tokens/{id}",
         {{"--id", "", text, verb, "", "the token's id"}},
         {{"token revoke ID", "at once"}}, "--id"}}},
      {"store", "store", "Back the server's content up, restore, check it, and take another MLflow server's over", {},
       {{"import", "Take over what another MLflow server has", run_store_import, "POST", "/api/v1/import/{kind}",
         {{"--from-mlflow", "", text, verb, "", "the other server, such as http://HOST:5000"},
          {"--rename-suffix", "", text, verb, "", "add this to names that something else has here"}},
         {{"store import --from-mlflow http://old:5000", "experiments, runs, metrics, artifacts, models; run again to go on"},
          {"store import --from-mlflow http://old:5000 --rename-suffix _old", "where names clash"}}, "--from-mlflow"}}},
      {"scheduler", "scheduler", "Play what the scheduler did again, or a load that is made up; no server takes part",
       {{"What", "what"}, {"Policy", "policy"}, {"Jobs", "jobs"}, {"Mean wait s", "mean_wait_s"}, {"Utilisation", "utilisation"}},
       {{"replay", "Compare what was recorded with what another policy, or more nodes, would have done", run_scheduler_replay, "", "",
         {{"--recording", "", path, verb, "", "events.jsonl in the folder scheduler of the server's data folder"},
          {"--policy", "", text, verb, "", "fair, priority, backfill or fifo (default: the recorded one)"},
          {"--nodes", "", scalar, verb, "", "so many nodes for each cluster, on a machine that has room for them"}},
         {{"scheduler replay events.jsonl --policy fifo", "what the order of submission alone would have done"},
          {"scheduler replay events.jsonl --nodes 8 --query value -o table", "side by side"}}, "--recording"},
        {"simulate", "Play a made-up load, and measure the scheduler", run_scheduler_simulate, "", "",
         {{"--policy", "", text, verb, "", "fair (default), priority, backfill or fifo"},
          {"--nodes", "", scalar, verb, "", "default: 1000"},
          {"--jobs", "", scalar, verb, "", "default: 10000"},
          {"--users", "", scalar, verb, "", "default: 100"},
          {"--seed", "", scalar, verb, "", "another one, another load"},
          {"--at-once", "", none, verb, "", "all jobs wait before the first one ends"}},
         {{"scheduler simulate --nodes 10000 --jobs 1000000 --at-once", "time for each event, and memory"}}, ""}}},
      {"login", "login", "Store a server and its token as a context", {},
       {{"", "Store a server and its token as a context, and use it", run_login, "", "", {},
         {{"login https://ml.example.org", "asks for the token"},
          {"login http://box:8080 --name box < token.txt", "from a file"}}, "--url"}}},
      {"logout", "login", "Forget a context and its token", {},
       {{"", "Forget the context in use, or the one named", run_logout, "", "", {}, {{"logout", "the one in use"}}}}},
      {"context", "context", "The servers that login stored",
       {{"Name", "name"}, {"URL", "url"}, {"User", "user"}, {"In use", "current"}},
       {{"list", "List contexts", run_context_list, "", "", {}, {{"context list -o table", "all of them"}}},
        {"use", "Use another context; `local` is the server of this machine", run_context_use, "", "", {},
         {{"context use box", "from now on"}}},
        {"delete", "Forget a context", run_context_delete, "", "", {}, {{"context delete box", "and its token"}}}}},
  };
}

// clang-format on

}  // namespace

const std::vector<Group>& groups() {
  static const std::vector<Group> kGroups = [] {
    std::vector<Group> all{job_group(),   compute_group(),  data_group(),      environment_group(),
                           model_group(), endpoint_group(), deployment_group(), node_group()};
    for (auto& group : people_groups()) all.push_back(std::move(group));
    return all;
  }();
  return kGroups;
}

const std::vector<Flag>& common_flags() {
  static const std::vector<Flag> kFlags{
      {"--name", "-n", text, verb, "", "name of the thing"},
      {"--version", "-v", text, verb, "", "its version"},
      {"--file", "-f", path, verb, "", "YAML or JSON file; - is standard input"},
      {"--set", "", list, verb, "", "FIELD=VALUE over the file, such as limits.timeout=60"},
      {"--output", "-o", text, verb, "", "json (default), table, tsv, yaml, none"},
      {"--query", "", text, verb, "", "part of the result, by JMESPath (jmespath.org)"},
      {"--yes", "-y", none, verb, "", "do not ask"},
      {"--url", "", text, verb, "", "server"},
      {"--token", "", text, verb, "", "token for it"},
      {"--context", "", text, verb, "", "stored server (see `lathe context list`)"},
      {"--data", "", path, verb, "", "data folder of the server that runs here"},
  };
  return kFlags;
}

const std::vector<Flag>& ignored_flags() {
  static const std::vector<Flag> kFlags{
      {"--resource-group", "-g", text, verb, "", ""}, {"--workspace-name", "-w", text, verb, "", ""},
      {"--subscription", "", text, verb, "", ""},     {"--registry-name", "", text, verb, "", ""},
      {"--location", "", text, verb, "", ""},         {"--web", "", none, verb, "", ""},
      {"--only-show-errors", "", none, verb, "", ""}, {"--verbose", "", none, verb, "", ""},
      {"--debug", "", none, verb, "", ""},            {"--skip-validation", "", none, verb, "", ""},
  };
  return kFlags;
}

}  // namespace lathe::cli
