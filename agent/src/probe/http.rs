use std::path::PathBuf;
use std::time::Instant;

use http::{Request, Uri};
use kube::client::Body;
use tokio::time::timeout;

use super::{Answer, Plan, reason_of};
use crate::verdict::Reason;

/// How the certificate of an `https://` target is judged.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Certificates to trust instead of the system's (PEM).
    pub ca_file: Option<PathBuf>,
    /// Trust any.
    pub insecure: bool,
}

/// A client for one URL. It is the Kubernetes client's: TLS, time limits and trust are there already, and one HTTP stack in the
/// agent is enough.
pub(crate) struct Http {
    client: kube::Client,
    path: String,
}

impl Http {
    /// # Errors
    /// When the certificates cannot be read.
    pub(crate) fn open(uri: &Uri, trust: &Trust) -> Result<Self, kube::Error> {
        // The client puts the path of its base in front of each request's, and would double a slash at the end.
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let base = format!("{}://{authority}", uri.scheme_str().unwrap_or("http"));
        let mut config = kube::Config::new(base.parse().map_err(|error: http::uri::InvalidUri| kube::Error::HttpError(error.into()))?);
        config.root_cert_file.clone_from(&trust.ca_file);
        config.accept_invalid_certs = trust.insecure;
        // A round of its own is the next attempt.
        config.default_retry = false;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Http { client: kube::Client::try_from(config)?, path })
    }

    /// One GET: a web server's log need not hold three a round.
    pub(super) async fn round(&self, plan: &Plan) -> Vec<Answer> {
        let start = Instant::now();
        let answer = match timeout(plan.timeout, self.send("GET", "", Vec::new())).await {
            Ok(Ok(status)) if status.is_success() || status.is_redirection() => {
                Answer { reason: Reason::GatewayReplied, rtt: Some(start.elapsed()) }
            }
            Ok(Ok(_)) => Answer::none(Reason::HttpStatus),
            Ok(Err(error)) => Answer::none(reason(&error)),
            Err(_) => Answer::none(Reason::NoReply),
        };
        vec![answer]
    }

    /// A request on a connection of its own.
    pub(crate) async fn send(&self, method: &str, content_type: &str, body: Vec<u8>) -> Result<http::StatusCode, kube::Error> {
        // A connection that lies open proves nothing about whether a new one can be made.
        let mut request = Request::builder().method(method).uri(&self.path).header("connection", "close");
        request = request.header("user-agent", edgeloop_service::build::user_agent("agent"));
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        let request = request.body(Body::from(body)).map_err(kube::Error::HttpError)?;
        Ok(self.client.send(request).await?.status())
    }
}

/// A refused connection is no answer here: the service that was asked for is not there.
fn reason(error: &kube::Error) -> Reason {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.raw_os_error().is_some()
        {
            return match reason_of(error) {
                Reason::GatewayRefused => Reason::HostUnreachable,
                reason => reason,
            };
        }
        cause = error.source();
    }
    Reason::NoReply
}

#[cfg(test)]
mod tls_tests;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers each connection with `status` once; hands over the first line that it got.
    async fn server(status: &'static str) -> (Uri, tokio::sync::mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let uri = format!("http://{}/health?deep=1", listener.local_addr().unwrap()).parse().unwrap();
        let (sender, lines) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut text = vec![0; 4096];
                let length = stream.read(&mut text).await.unwrap();
                let _ = sender.send(String::from_utf8_lossy(&text[..length]).lines().next().unwrap_or_default().to_owned());
                let _ = stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nlocation: /x\r\n\r\n").as_bytes()).await;
            }
        });
        (uri, lines)
    }

    fn plan(timeout: Duration) -> Plan {
        Plan { requests: 3, timeout, tcp_ports: vec![] }
    }

    async fn ask(uri: &Uri) -> Answer {
        let answers = Http::open(uri, &Trust::default()).unwrap().round(&plan(Duration::from_secs(10))).await;
        assert_eq!(answers.len(), 1);
        answers[0]
    }

    #[tokio::test]
    async fn success_and_redirection_are_answers() {
        for status in ["200 OK", "204 No Content", "302 Found"] {
            let (uri, mut lines) = server(status).await;
            let answer = ask(&uri).await;
            assert!(answer.reason == Reason::GatewayReplied && answer.rtt.is_some(), "{status}: {answer:?}");
            assert_eq!(lines.recv().await.unwrap(), "GET /health?deep=1 HTTP/1.1");
        }
    }

    #[tokio::test]
    async fn an_error_status_is_none() {
        for status in ["404 Not Found", "503 Service Unavailable"] {
            let (uri, mut lines) = server(status).await;
            assert_eq!(ask(&uri).await.reason, Reason::HttpStatus);
            lines.recv().await.unwrap();
            assert!(lines.try_recv().is_err(), "asked once");
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_no_answer() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        assert_eq!(ask(&uri).await.reason, Reason::HostUnreachable);
    }

    #[tokio::test]
    async fn a_server_that_is_silent_is_no_answer() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let answers = Http::open(&uri, &Trust::default()).unwrap().round(&plan(Duration::from_millis(50))).await;
        assert_eq!(answers[0].reason, Reason::NoReply);
    }

    #[tokio::test]
    async fn certificates_that_are_not_there_are_an_error() {
        let trust = Trust { ca_file: Some("/nonexistent/ca.pem".into()), insecure: false };
        assert!(Http::open(&"https://127.0.0.1/".parse().unwrap(), &trust).is_err());
    }
}
