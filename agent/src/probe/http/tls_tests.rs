//! `https://` targets. `tests/tls`: an authority, a server of its for 127.0.0.1 (both for a hundred years), and another authority.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls")).join(name)
}

/// Answers each request with 200; its port.
async fn gateway() -> u16 {
    let chain = vec![CertificateDer::from_pem_file(file("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Who does not trust us goes away in the middle of it.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    port
}

#[rstest]
#[case::its_authority("127.0.0.1", Some("ca.pem"), false, Reason::GatewayReplied)]
#[case::no_matter_whose("127.0.0.1", None, true, Reason::GatewayReplied)]
#[case::the_systems_authorities("127.0.0.1", None, false, Reason::NoReply)]
#[case::another_authority("127.0.0.1", Some("another-ca.pem"), false, Reason::NoReply)]
#[case::a_name_that_is_not_in_it("localhost", Some("ca.pem"), false, Reason::NoReply)]
#[tokio::test]
async fn a_certificate_is_judged_by(#[case] host: &str, #[case] ca: Option<&str>, #[case] insecure: bool, #[case] expected: Reason) {
    let uri = format!("https://{host}:{}/", gateway().await).parse().unwrap();
    let trust = Trust { ca_file: ca.map(file), insecure };
    let plan = Plan { requests: 1, timeout: Duration::from_secs(10), tcp_ports: vec![] };
    let answers = Http::open(&uri, &trust).unwrap().round(&plan).await;
    assert_eq!(answers[0].reason, expected);
}
