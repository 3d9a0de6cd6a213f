//! Field blocks, read into the heads and trailers that pass between codecs.

use super::ErrorCode;
use super::connection::Connection;
use super::fields::{
    Asked, FieldsError, RequestFields, RequestRead, ResponseFields, ResponseRead, TrailerFields,
};
use crate::codec::Fault;
use crate::{Error, Scratch, Status};

/// The outcome of a block that was decoded; the outer one is that of the connection.
type Read<T> = Result<Result<T, FieldsError>, Error>;

impl Connection {
    /// Decodes a request head into [`Scratch::request`].
    pub(super) fn read_request(
        &mut self,
        block: &[u8],
        end_stream: bool,
        scratch: &mut Scratch,
    ) -> Read<RequestRead> {
        let limits = self.limits.fields();
        let mut fields = RequestFields::new(&mut scratch.request, &limits);
        self.state
            .decoder
            .decode(block, |it| fields.push(it.name, it.value))
            .map_err(|error| self.compression_error(error.reason()))?;
        Ok(fields.finish(end_stream))
    }

    /// Decodes a response head into [`Scratch::response`].
    pub(super) fn read_response(
        &mut self,
        block: &[u8],
        end_stream: bool,
        asked: Asked,
        scratch: &mut Scratch,
    ) -> Read<ResponseRead> {
        let limits = self.limits.fields();
        let mut fields = ResponseFields::new(&mut scratch.response, &limits, asked);
        self.state
            .decoder
            .decode(block, |it| fields.push(it.name, it.value))
            .map_err(|error| self.compression_error(error.reason()))?;
        Ok(fields.finish(end_stream))
    }

    /// Decodes trailers into [`Scratch::trailers`].
    pub(super) fn read_trailers(&mut self, block: &[u8], scratch: &mut Scratch) -> Read<()> {
        let limits = self.limits.fields();
        let mut fields = TrailerFields::new(&mut scratch.trailers, &limits);
        self.state
            .decoder
            .decode(block, |it| fields.push(it.name, it.value))
            .map_err(|error| self.compression_error(error.reason()))?;
        Ok(fields.finish())
    }

    /// Nothing can be read any more: the tables of both sides differ.
    pub(super) fn compression_error(&mut self, reason: &'static str) -> Error {
        let error = Error::new(Fault::Malformed, Status::BadRequest, reason);
        self.fail(ErrorCode::CompressionError, error)
    }
}
