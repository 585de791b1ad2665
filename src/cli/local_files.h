#pragma once

#include <string>

#include "cli/document.h"
#include "http/client.h"

namespace lathe::cli {

class Session;

/// A path given on the command line, absolute; references such as azureml:data:1 and URLs stay as they are.
std::string from_working_folder(const std::string& text);

/// Makes a document's local files reachable for the server: code, inputs, build folders and the paths of data and
/// models. A server on this machine gets the absolute path; any other gets the content, uploaded once by digest, as
/// tree:DIGEST (code: {"tree": DIGEST}). `conda_file` is put into the document. With `upload` nothing is sent as a
/// path. Answers whether a path of this machine is in the document now. Errors: `not_found` for a missing file, with
/// the field in front; those of the transfer.
Result<bool> take_local_files(Session& session, Document& document, bool upload);

}  // namespace lathe::cli
