//! `hangu demo --try-bolt`: one Bolt request, made by hand, with both frames shown.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);
const ID: u32 = 1;
const CONTENT: &[u8] = b"hello from the other side of the pass";

/// Bytes of an answer before its class.
const FIXED_BYTES: usize = 20;

/// Sends one request to a Bolt listener and says, as text, what went out and what came back.
///
/// # Errors
/// Nobody listens, no whole answer came in time, or it is no answer to the request.
pub fn try_bolt(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = request();
    stream.write_all(&request)?;
    let answer = read_answer(&mut stream)?;
    let described = describe(&answer)?;
    Ok(format!(
        "sent to {address}: a request of {} bytes, id {ID}, service com.example.Hello:1.0, method \
         say\n{}received: {described}\n{}",
        request.len(),
        dump(&request),
        dump(&answer)
    ))
}

/// A Bolt v1 request as a SOFA-RPC consumer makes it. The layout stands at the demo's upstream.
fn request() -> Vec<u8> {
    let class = b"com.alipay.sofa.rpc.core.request.SofaRequest";
    let mut header = Vec::new();
    for (name, value) in [
        ("service", "com.example.Hello:1.0"),
        ("sofa_head_target_service", "com.example.Hello:1.0"),
        ("sofa_head_method_name", "say"),
    ] {
        for text in [name, value] {
            header.extend((text.len() as u32).to_be_bytes());
            header.extend(text.as_bytes());
        }
    }
    let timeout_ms = TIMEOUT.as_millis() as u32;
    let (protocol, kind, command, command_version, codec) = (1, 1, 1_u16, 1, 1);
    let mut frame = vec![protocol, kind];
    frame.extend(command.to_be_bytes());
    frame.push(command_version);
    frame.extend(ID.to_be_bytes());
    frame.push(codec);
    frame.extend(timeout_ms.to_be_bytes());
    frame.extend((class.len() as u16).to_be_bytes());
    frame.extend((header.len() as u16).to_be_bytes());
    frame.extend((CONTENT.len() as u32).to_be_bytes());
    frame.extend(class);
    frame.extend(header);
    frame.extend(CONTENT);
    frame
}

fn read_answer(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut answer = vec![0; FIXED_BYTES];
    stream.read_exact(&mut answer)?;
    let class_bytes = u16::from_be_bytes([answer[12], answer[13]]);
    let header_bytes = u16::from_be_bytes([answer[14], answer[15]]);
    let content_bytes = u32::from_be_bytes([answer[16], answer[17], answer[18], answer[19]]);
    let rest = u64::from(class_bytes) + u64::from(header_bytes) + u64::from(content_bytes);
    let taken = stream.take(rest).read_to_end(&mut answer)?;
    if taken as u64 != rest {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

fn describe(answer: &[u8]) -> io::Result<String> {
    let id = u32::from_be_bytes([answer[5], answer[6], answer[7], answer[8]]);
    let status = u16::from_be_bytes([answer[10], answer[11]]);
    let is_response = answer.starts_with(&[1, 0, 0, 2]);
    if !is_response || id != ID {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("what came back is no Bolt v1 response to id {ID}:\n{}", dump(answer)),
        ));
    }
    if status != 0 {
        return Err(io::Error::other(format!("the answer has status {status}\n{}", dump(answer))));
    }
    let content = match answer.ends_with(CONTENT) {
        true => "the same content",
        false => "other content",
    };
    Ok(format!("a response of {} bytes, id {id}, status 0 (success), {content}", answer.len()))
}

/// Bytes as hexadecimal and as text, 16 to a line.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        let hex: String = chunk.iter().map(|byte| format!("{byte:02x} ")).collect();
        let plain: String = chunk.iter().map(|byte| plain(*byte)).collect();
        // Writing to memory does not fail.
        let _ = writeln!(text, "  {:04x}  {hex:48} {plain}", line * 16);
    }
    text
}

fn plain(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '.' }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn the_upstream_of_the_demo_answers_the_request_that_is_shown() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            runtime.block_on(async {
                let (stream, _) = listener.accept().await?;
                super::super::bolt::serve(stream).await
            })
        });
        let text = try_bolt(address).unwrap();
        assert!(text.contains("id 1, status 0 (success), the same content"), "{text}");
        server.join().unwrap().unwrap();
    }

    #[test]
    fn an_answer_with_another_status_is_a_failure() {
        let mut answer = vec![1, 0, 0, 2, 1, 0, 0, 0, 1, 1, 0, 6];
        answer.extend([0; 8]);
        assert!(describe(&answer).unwrap_err().to_string().contains("status 6"));
        answer[8] = 2;
        assert!(describe(&answer).unwrap_err().to_string().contains("no Bolt v1 response"));
    }
}
