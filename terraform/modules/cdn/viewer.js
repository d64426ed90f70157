// The balancer's firewall counts by this header: it is CloudFront's, whatever the visitor sent.
function handler(event) {
  var request = event.request;
  request.headers['x-viewer-address'] = { value: event.viewer.ip };
  return request;
}
