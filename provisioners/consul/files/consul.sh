# The local agent for people at a shell: TLS only, and no token here.
export CONSUL_HTTP_ADDR=https://127.0.0.1:8501
export CONSUL_CACERT=/run/consul-tls/ca.pem
