//! ApiVersions: what this listener speaks.

use super::{SHOWN, encode};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

pub(super) fn answer(_: &ApiVersionsRequest) -> ApiVersionsResponse {
    let keys = SHOWN.iter().map(|(key, range)| {
        ApiVersion::default()
            .with_api_key(*key as i16)
            .with_min_version(range.min)
            .with_max_version(range.max)
    });
    ApiVersionsResponse::default().with_api_keys(keys.collect())
}

/// To a version not yet known: an error and the list, in the form of version 0, which every client can read. The
/// client then asks again in a version of the list.
pub(super) fn unsupported(correlation: i32) -> Option<Vec<u8>> {
    let list = answer(&ApiVersionsRequest::default());
    encode(correlation, 0, &list.with_error_code(ResponseError::UnsupportedVersion.code()))
}
