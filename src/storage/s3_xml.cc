#include "storage/s3_xml.h"

#include <fmt/format.h>

#include <algorithm>
#include <pugixml.hpp>
#include <sstream>

#include "base/text.h"

namespace lathe::storage {
namespace {

/// As encoding-type=url encodes keys: AWS writes a space as '+', others as %20.
std::string decoded(const char* text) {
  std::string plus(text);
  std::replace(plus.begin(), plus.end(), '+', ' ');
  return url_decode(plus);
}

Result<pugi::xml_node> root_of(pugi::xml_document& document, const std::string& xml, const char* name) {
  if (document.load_buffer(xml.data(), xml.size()) && document.child(name)) return document.child(name);
  return fail(Code::unavailable, fmt::format("S3 answered something else than a {}: is this an S3 endpoint?", name));
}

std::string printed(const pugi::xml_document& document) {
  std::ostringstream out;
  document.save(out, "", pugi::format_raw | pugi::format_no_declaration);
  return out.str();
}

}  // namespace

Result<S3Listing> parse_listing(const std::string& xml) {
  pugi::xml_document document;
  LATHE_TRY(const auto root, root_of(document, xml, "ListBucketResult"));
  S3Listing out;
  for (const auto& item : root.children("Contents"))
    out.objects.push_back({decoded(item.child_value("Key")), item.child("Size").text().as_ullong()});
  for (const auto& item : root.children("CommonPrefixes")) out.folders.push_back(decoded(item.child_value("Prefix")));
  if (root.child("IsTruncated").text().as_bool()) out.next = root.child_value("NextContinuationToken");
  return out;
}

Result<S3Uploads> parse_uploads(const std::string& xml) {
  pugi::xml_document document;
  LATHE_TRY(const auto root, root_of(document, xml, "ListMultipartUploadsResult"));
  S3Uploads out;
  for (const auto& item : root.children("Upload"))
    out.uploads.push_back(
        {decoded(item.child_value("Key")), item.child_value("UploadId"), item.child_value("Initiated")});
  if (root.child("IsTruncated").text().as_bool()) {
    out.next_key = decoded(root.child_value("NextKeyMarker"));
    out.next_id = root.child_value("NextUploadIdMarker");
  }
  return out;
}

std::string element_text(const std::string& xml, const char* name) {
  pugi::xml_document document;
  document.load_buffer(xml.data(), xml.size());
  return document.document_element().child_value(name);
}

S3Refusal parse_refusal(const std::string& xml) {
  pugi::xml_document document;
  if (!document.load_buffer(xml.data(), xml.size())) return {};
  const auto root = document.child("Error");
  return {root.child_value("Code"), root.child_value("Message"), root.child_value("Region")};
}

std::string failed_deletion(const std::string& xml) {
  pugi::xml_document document;
  document.load_buffer(xml.data(), xml.size());
  const auto error = document.document_element().child("Error");
  if (!error) return {};
  return fmt::format("{}: {} {}", error.child_value("Key"), error.child_value("Code"), error.child_value("Message"));
}

std::string deletion(const std::vector<std::string>& keys) {
  pugi::xml_document document;
  auto root = document.append_child("Delete");
  root.append_child("Quiet").text().set("true");
  for (const auto& key : keys) root.append_child("Object").append_child("Key").text().set(key.c_str());
  return printed(document);
}

std::string completion(const std::vector<std::pair<int, std::string>>& parts) {
  pugi::xml_document document;
  auto root = document.append_child("CompleteMultipartUpload");
  for (const auto& [number, etag] : parts) {
    auto part = root.append_child("Part");
    part.append_child("PartNumber").text().set(number);
    part.append_child("ETag").text().set(etag.c_str());
  }
  return printed(document);
}

}  // namespace lathe::storage
