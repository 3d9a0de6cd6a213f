//! What holds in every version of HTTP (RFC 9110): names, authorities, the bytes of targets, the
//! length of content. One copy, so that no version is more lenient than another.

pub(crate) mod content;
pub(crate) mod name;
pub(crate) mod sound;
pub(crate) mod target;
