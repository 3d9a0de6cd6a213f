//! The Hangu gateway as a library.
