"""ACM: the algorithm that a certificate was asked for with. Moto's are all RSA."""

from moto.acm import models, responses

Bundle = models.CertBundle
moto_request_certificate = responses.AWSCertificateManagerResponse.request_certificate
moto_describe = Bundle.describe


def request_certificate(self):
    answer = moto_request_certificate(self)
    bundle = self.acm_backend.get_certificate(answer.result["CertificateArn"])
    bundle.emulator_algorithm = self._get_param("KeyAlgorithm")
    return answer


def describe(self):
    found = moto_describe(self)
    algorithm = getattr(self, "emulator_algorithm", None)
    if algorithm:
        found["Certificate"]["KeyAlgorithm"] = algorithm
    return found


def install():
    """Replaces moto's methods."""
    responses.AWSCertificateManagerResponse.request_certificate = request_certificate
    Bundle.describe = describe
