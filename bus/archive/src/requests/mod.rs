//! What is asked and answered, one module a request.

mod api_versions;
mod fetch;
mod groups;
mod leader_epoch;
mod list_offsets;
mod metadata;
mod produce;

use crate::connection::Session;
use crate::guard;
use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes, VersionRange};

/// The only node there is.
const NODE: i32 = 0;

/// The APIs shown and their versions. Metadata stays below 10, so that no client asks by topic id.
const SHOWN: [(ApiKey, VersionRange); 10] = [
    // Every write is refused, but librdkafka takes a server without Produce, or with a narrower range, for one that
    // predates message format 2, and then reads nothing without saying so.
    (ApiKey::Produce, VersionRange { min: 0, max: 8 }),
    (ApiKey::Fetch, VersionRange { min: 4, max: 12 }),
    (ApiKey::ListOffsets, VersionRange { min: 1, max: 7 }),
    (ApiKey::Metadata, VersionRange { min: 0, max: 9 }),
    (ApiKey::OffsetCommit, VersionRange { min: 2, max: 7 }),
    (ApiKey::OffsetFetch, VersionRange { min: 1, max: 7 }),
    (ApiKey::FindCoordinator, VersionRange { min: 0, max: 2 }),
    (ApiKey::JoinGroup, VersionRange { min: 0, max: 4 }),
    (ApiKey::ApiVersions, VersionRange { min: 0, max: 4 }),
    (ApiKey::OffsetForLeaderEpoch, VersionRange { min: 2, max: 4 }),
];

/// What follows from a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// These bytes, length included.
    Send(Vec<u8>),
    /// The end of the connection, which is how a producer that wants no answer learns that it was refused.
    Close,
}

/// Answers one request, given without its length; `None` if it is malformed or not one of those shown.
pub(crate) fn answer(request: Bytes, session: &mut Session<'_>) -> Option<Answer> {
    let (api, version, correlation) = identify(&request)?;
    let is_shown = SHOWN.iter().any(|(key, range)| *key == api && (range.min..=range.max).contains(&version));
    if !is_shown {
        let unknown_api_versions = api == ApiKey::ApiVersions && version > 0;
        return if unknown_api_versions {
            api_versions::unsupported(correlation).map(Answer::Send)
        } else {
            None
        };
    }
    let mut body = request;
    let header = RequestHeader::decode(&mut body, api.request_header_version(version)).ok()?;
    session.cursors.told.client.id = header.client_id.map(StrBytes::into_bytes).unwrap_or_default();
    let call = Call { version, correlation, body };
    guard::is_sound(api, version, &call.body).then_some(())?;
    dispatch(api, call, session)
}

fn dispatch(api: ApiKey, call: Call, session: &mut Session<'_>) -> Option<Answer> {
    let counters = &session.shared.counters;
    let counter = match api {
        ApiKey::Produce => &counters.produce,
        ApiKey::Fetch => &counters.fetch,
        ApiKey::ListOffsets => &counters.list_offsets,
        ApiKey::Metadata => &counters.metadata,
        ApiKey::ApiVersions => &counters.api_versions,
        ApiKey::OffsetForLeaderEpoch => &counters.leader_epoch,
        _ => &counters.groups,
    };
    counter.add(1);
    let version = call.version;
    match api {
        ApiKey::Produce => call.answer_or_close(|request| produce::refuse(&request, session)),
        ApiKey::Fetch => call.answer(|request| fetch::answer(&request, session)),
        ApiKey::ListOffsets => call.answer(|request| list_offsets::answer(&request, version, session)),
        ApiKey::Metadata => call.answer(|request| metadata::answer(&request, version, session)),
        ApiKey::OffsetCommit => call.answer(|request| groups::commit(&request)),
        ApiKey::OffsetFetch => call.answer(|request| groups::committed(&request)),
        ApiKey::FindCoordinator => call.answer(|request| groups::coordinator(&request, session)),
        ApiKey::JoinGroup => call.answer(|request| groups::join(&request)),
        ApiKey::ApiVersions => call.answer(|request| api_versions::answer(&request)),
        ApiKey::OffsetForLeaderEpoch => call.answer(|request| leader_epoch::answer(&request, session)),
        _ => None,
    }
}

/// The API, its version and the correlation id, which stand at the same place in every request header.
fn identify(request: &[u8]) -> Option<(ApiKey, i16, i32)> {
    let (head, _) = request.split_first_chunk::<8>()?;
    let [k0, k1, v0, v1, c0, c1, c2, c3] = *head;
    let api = ApiKey::try_from(i16::from_be_bytes([k0, k1])).ok()?;
    Some((api, i16::from_be_bytes([v0, v1]), i32::from_be_bytes([c0, c1, c2, c3])))
}

/// A request whose header is read.
struct Call {
    version: i16,
    correlation: i32,
    body: Bytes,
}

impl Call {
    fn answer<Q: Decodable, A: Encodable + HeaderVersion>(
        self,
        answer: impl FnOnce(Q) -> A,
    ) -> Option<Answer> {
        self.answer_or_close(|request| Some(answer(request)))
    }

    fn answer_or_close<Q: Decodable, A: Encodable + HeaderVersion>(
        mut self,
        answer: impl FnOnce(Q) -> Option<A>,
    ) -> Option<Answer> {
        let request = Q::decode(&mut self.body, self.version).ok()?;
        match answer(request) {
            Some(answer) => encode(self.correlation, self.version, &answer).map(Answer::Send),
            None => Some(Answer::Close),
        }
    }
}

/// An answer with its length and header.
fn encode<A: Encodable + HeaderVersion>(correlation: i32, version: i16, answer: &A) -> Option<Vec<u8>> {
    let mut out = vec![0; 4];
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut out, A::header_version(version)).ok()?;
    answer.encode(&mut out, version).ok()?;
    let length = i32::try_from(out.len() - 4).ok()?;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Some(out)
}

#[cfg(test)]
mod tests;
