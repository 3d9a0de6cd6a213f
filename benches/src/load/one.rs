//! One connection that asks one request at a time, waiting for each answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::client::{Client, Fault};
use super::{STALL, client_of};
use crate::clock;
use crate::workload::Workload;

/// What one read takes at most.
const BUFFER_BYTES: usize = 16 * 1024;

/// A connection that is silent but for [`Single::ask`].
#[derive(Debug)]
pub struct Single {
    stream: TcpStream,
    client: Box<dyn Client>,
}

impl Single {
    /// Connects as connection `number` of a workload.
    ///
    /// # Errors
    /// The target refuses, or the process has no descriptor left.
    pub fn connect(target: SocketAddr, workload: &Workload, number: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STALL))?;
        Ok(Self { stream, client: client_of(workload, number) })
    }

    /// Asks once and waits for the answer.
    ///
    /// # Errors
    /// The answer is wrong, or does not come.
    pub fn ask(&mut self) -> Result<(), Fault> {
        let mut request = Vec::new();
        self.client.send(clock::now(), &mut request);
        self.stream.write_all(&request).map_err(|_| Fault::Closed)?;
        let mut buffer = [0; BUFFER_BYTES];
        let mut input = Vec::new();
        let mut answers = Vec::new();
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Fault::Closed),
                Ok(bytes) => input.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Fault::Lost),
                Err(_) => return Err(Fault::Closed),
            }
            let taken = self.client.receive(&input, &mut answers)?;
            input.drain(..taken);
            let mut words = Vec::new();
            self.client.settle(&mut words);
            self.stream.write_all(&words).map_err(|_| Fault::Closed)?;
            if let Some(answer) = answers.first() {
                return answer.verdict;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Addresses, Backend};
    use crate::workload::WORKLOADS;

    #[test]
    fn a_connection_asks_again_and_again_and_sees_its_end() {
        let backend = Backend::bind(Addresses::any()).unwrap();
        let target = backend.addresses().unwrap().http;
        std::thread::spawn(move || backend.run());
        let mut single = Single::connect(target, &WORKLOADS[0], 0).unwrap();
        for _ in 0..3 {
            assert_eq!(single.ask(), Ok(()));
        }
        single.stream.shutdown(std::net::Shutdown::Both).unwrap();
        assert_eq!(single.ask(), Err(Fault::Closed));
    }
}
