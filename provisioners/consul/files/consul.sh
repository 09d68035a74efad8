# The local agent for shells: TLS only, without a token.
export CONSUL_HTTP_ADDR=https://127.0.0.1:8501
export CONSUL_CACERT=/run/consul-tls/ca.pem
