"""Budgets: who is told, and tags. Moto makes notifications and does not say to whom they go."""

import json

from moto.budgets import models, responses

Response = responses.BudgetsResponse
moto_create_budget = Response.create_budget


def budget(request):
    name = request._get_param("BudgetName")
    return request.backend.budgets[request._get_param("AccountId")].get(name)


def create_budget(self):
    answer = moto_create_budget(self)
    name = self._get_param("Budget")["BudgetName"]
    made = self.backend.budgets[self._get_param("AccountId")][name]
    made.emulator_tags = self._get_param("ResourceTags") or []
    return answer


def describe_subscribers_for_notification(self):
    wanted = self._get_param("Notification")
    found = budget(self)
    every = found.notifications if found else []
    # The provider asks with what Describe told it, where AWS adds a state.
    same = [one for one in every if all(wanted.get(key) == one.details[key] for key in one.details)]
    if not same:
        raise models.NotFoundException("Unable to get subscribers - the notification doesn't exist.")
    return json.dumps({"Subscribers": same[0].subscribers})


def list_tags_for_resource(self):
    name = self._get_param("ResourceARN").rpartition("/")[2]
    every = [budgets.get(name) for budgets in self.backend.budgets.values()]
    tags = [getattr(one, "emulator_tags", []) for one in every if one]
    return json.dumps({"ResourceTags": tags[0] if tags else []})


def install():
    """Replaces moto's methods, and adds to them."""
    Response.create_budget = create_budget
    Response.describe_subscribers_for_notification = describe_subscribers_for_notification
    Response.list_tags_for_resource = list_tags_for_resource
